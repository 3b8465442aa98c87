from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from artifacts.errors import ModelFormatError
from passes.interpreter import run_function
from passes.onnx_to_torch.constant_nodes import constant_tensors
from passes.onnx_to_torch.convert import convert
from passes.onnx_to_torch.external_data import resolve_external
from passes.onnx_to_torch.importer import Importer
from passes.onnx_to_torch.source import load_source
from passes.onnx_to_torch.tensor_problems import BITS, tensor_problems
from tests.artifacts.test_mapped_pages import resident
from tests.support.programs import Array, normal, parsed

WEIGHT = normal(4, 4)
GRAPH = "g (float[n, 4] x) => (float[n, 4] y) { y = MatMul (x, w) }"


def external(tensor: TensorProto, location: str, **entries: str | int) -> TensorProto:
    """The tensor with its bytes elsewhere."""
    for name in ("raw_data", "float_data"):
        tensor.ClearField(name)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def with_weight(location: str, **entries: str | int) -> onnx.ModelProto:
    model = parsed(GRAPH, w=WEIGHT)
    external(model.graph.initializer[0], location, **entries)
    return model


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def loaded_weight(path: Path) -> Array:
    tensor = load_source(path).model.graph.initializers["w"].const_value
    assert tensor is not None
    return tensor.numpy()


def test_the_bits_of_every_element_type_are_known() -> None:
    assert {int(kind): kind.bitwidth for kind in ir.DataType if kind.name not in {"UNDEFINED", "STRING"}} == BITS


def message_of(path: Path) -> str:
    with pytest.raises(ModelFormatError) as caught:
        load_source(path)
    (problem,) = caught.value.problems
    assert problem.subject == "model.onnx: tensor 'w'"
    return problem.message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, with its data in several places inside, and the same data outside."""
    folder = tmp_path / "model"
    for place in (folder, folder / "sub", tmp_path, tmp_path / "model-other"):
        place.mkdir(exist_ok=True)
        (place / "w.bin").write_bytes(WEIGHT.tobytes())
    return folder


@pytest.mark.parametrize("location", ["w.bin", "./w.bin", "sub/w.bin", "sub/../w.bin", "inside", "loop/w.bin"])
def test_data_inside_the_folder_is_read(folder: Path, location: str) -> None:
    (folder / "inside").symlink_to(folder / "sub" / "w.bin")
    (folder / "loop").symlink_to(folder)
    assert np.array_equal(loaded_weight(saved(folder, with_weight(location))), WEIGHT)


@pytest.mark.parametrize(
    "location",
    [
        "../w.bin",
        "sub/../../w.bin",
        "../model-other/w.bin",
        "{outside}/w.bin",
        "link",
        "linked/w.bin",
        "circle",
        "sub\\..\\w.bin",
        "",
        ".",
        "sub/..",
    ],
)
def test_data_outside_the_folder_is_refused(folder: Path, location: str) -> None:
    (folder / "link").symlink_to(folder.parent / "w.bin")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "circle").symlink_to(folder / "circle")
    location = location.format(outside=folder.parent)
    message = message_of(saved(folder, with_weight(location)))
    assert message == f"external data {location!r} is not inside the model's folder"
    assert resolve_external(folder, location) is None


def test_a_name_with_a_zero_byte_is_refused(folder: Path) -> None:
    assert resolve_external(folder, "w.bin\0") is None


@pytest.mark.parametrize("location", ["missing.bin", "sub", "w.bin/w.bin", "x" * 300])
def test_a_location_that_is_no_file_is_missing(folder: Path, location: str) -> None:
    message = message_of(saved(folder, with_weight(location)))
    assert message == f"external data file {location!r} is missing"


def test_a_folder_that_is_reached_through_a_link_is_the_folder_it_is(folder: Path) -> None:
    saved(folder, with_weight("w.bin"))
    (folder.parent / "alias").symlink_to(folder)
    assert np.array_equal(loaded_weight(folder.parent / "alias" / "model.onnx"), WEIGHT)


def test_a_relative_path_is_enough(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(folder, with_weight("w.bin"))
    monkeypatch.chdir(folder)
    assert np.array_equal(loaded_weight(Path("model.onnx")), WEIGHT)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": 4}, "bytes 4..68 lie outside 'w.bin' (64 bytes)"),
        ({"offset": 60, "length": 64}, "bytes 60..124 lie outside 'w.bin' (64 bytes)"),
        ({"offset": 1 << 70, "length": 64}, f"bytes {1 << 70}..{(1 << 70) + 64} lie outside 'w.bin' (64 bytes)"),
        ({"offset": -64, "length": 64}, "bytes -64..0 lie outside 'w.bin' (64 bytes)"),
        ({"offset": 64, "length": -64}, "bytes 64..0 lie outside 'w.bin' (64 bytes)"),
        ({"length": 60}, "external data holds 60 bytes, its shape needs 64"),
        ({"offset": 64, "length": 0}, "external data holds 0 bytes, its shape needs 64"),
        ({"offset": "here"}, "external data 'w.bin' has an offset or length that is no number"),
        ({"length": ""}, "external data 'w.bin' has an offset or length that is no number"),
    ],
)
def test_a_place_that_does_not_hold_the_tensor(folder: Path, entries: dict[str, str | int], message: str) -> None:
    assert message_of(saved(folder, with_weight("w.bin", **entries))) == message


@pytest.mark.parametrize("entries", [{}, {"offset": 0}, {"length": 64}, {"offset": 0, "length": 64}])
def test_offset_and_length_may_be_left_out(folder: Path, entries: dict[str, str | int]) -> None:
    assert np.array_equal(loaded_weight(saved(folder, with_weight("w.bin", **entries))), WEIGHT)


def test_an_offset_may_leave_the_rest_of_the_file_to_others(folder: Path) -> None:
    (folder / "all.bin").write_bytes(bytes(128) + WEIGHT.tobytes() + bytes(32))
    assert np.array_equal(loaded_weight(saved(folder, with_weight("all.bin", offset=128))), WEIGHT)


def tensor_proto(kind: int, dims: list[int], **fields: Any) -> TensorProto:
    return TensorProto(name="w", data_type=kind, dims=dims, **fields)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (tensor_proto(TensorProto.FLOAT, [4], raw_data=bytes(12)), "holds 12 bytes, its shape needs 16"),
        (tensor_proto(TensorProto.FLOAT, [4], raw_data=bytes(20)), "holds 20 bytes, its shape needs 16"),
        (tensor_proto(TensorProto.FLOAT, [4], float_data=[1.0]), "holds 1 elements, its shape needs 4"),
        (tensor_proto(TensorProto.FLOAT, [1 << 40, 1 << 40]), f"holds 0 elements, its shape needs {1 << 80}"),
        (tensor_proto(TensorProto.COMPLEX64, [2], float_data=[1.0, 0.0]), "holds 2 elements, its shape needs 4"),
        (tensor_proto(TensorProto.INT4, [5], raw_data=bytes(2)), "holds 2 bytes, its shape needs 3"),
        (tensor_proto(TensorProto.INT4, [5], int32_data=[0] * 5), "holds 5 elements, its shape needs 3"),
        (tensor_proto(TensorProto.STRING, [2], string_data=[b"a"]), "holds 1 elements, its shape needs 2"),
        (tensor_proto(TensorProto.FLOAT, [-4], raw_data=bytes(16)), "has the shape [-4]"),
        (tensor_proto(TensorProto.UNDEFINED, [4], raw_data=bytes(16)), "element type 0 is none that ONNX has"),
        (tensor_proto(99, [4], raw_data=bytes(16)), "element type 99 is none that ONNX has"),
        (external(tensor_proto(TensorProto.STRING, [1]), "w.bin"), "strings cannot be external data"),
    ],
)
def test_a_tensor_that_is_not_whole(folder: Path, tensor: TensorProto, message: str) -> None:
    model = parsed(GRAPH)
    model.graph.initializer.append(tensor)
    assert message_of(saved(folder, model)) == message


@pytest.mark.parametrize("kind", [kind for kind in ir.DataType if kind not in (ir.DataType.UNDEFINED,)])
def test_every_element_type_as_onnx_writes_it_is_whole(folder: Path, kind: ir.DataType) -> None:
    values: Any = [b"a", b"b", b"c"] if kind == ir.DataType.STRING else [0, 1, 2]
    tensors = [helper.make_tensor("w", kind.value, [3], values)]
    if kind != ir.DataType.STRING:
        tensors.append(numpy_helper.from_array(numpy_helper.to_array(tensors[0]), "w"))
    for tensor in tensors:
        model = parsed(GRAPH)
        model.graph.initializer.append(tensor)
        assert list(tensor_problems(Path("m.onnx"), folder, model)) == []


def place_in_constant(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))


def place_in_branch(model: onnx.ModelProto, tensor: TensorProto) -> None:
    value = helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4])
    branch = helper.make_graph([helper.make_node("Identity", ["v"], ["u"])], "branch", [], [value])
    branch.output[0].name = "u"
    tensor.name = "v"
    branch.initializer.append(tensor)
    condition = numpy_helper.from_array(np.array(True), "yes")
    model.graph.initializer.append(condition)
    node = helper.make_node("If", ["yes"], ["w"], then_branch=branch, else_branch=branch)
    model.graph.node.insert(0, node)


def place_in_function(model: onnx.ModelProto, tensor: TensorProto) -> None:
    opsets = [helper.make_opsetid("", 20)]
    inner = helper.make_node("Constant", [], ["value"], value=tensor)
    model.functions.append(helper.make_function("mine", "weight", [], ["value"], [inner], opsets))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node.insert(0, helper.make_node("weight", [], ["w"], domain="mine"))


PLACES = (place_in_constant, place_in_branch, place_in_function)


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_looked_for_wherever_a_tensor_may_be(folder: Path, place: object) -> None:
    assert callable(place)
    model = parsed(GRAPH)
    place(model, external(numpy_helper.from_array(WEIGHT, "w"), "../w.bin"))
    with pytest.raises(ModelFormatError, match="not inside the model's folder"):
        load_source(saved(folder, model))


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_read_from_the_models_folder_and_no_other(
    folder: Path, place: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(place)
    model = parsed(GRAPH)
    place(model, external(numpy_helper.from_array(WEIGHT, "w"), "w.bin"))
    decoy = folder.parent / "decoy"
    decoy.mkdir()
    (decoy / "w.bin").write_bytes(bytes(64))
    monkeypatch.chdir(decoy)
    source = load_source(saved(folder, model))
    found = [tensor.numpy() for tensor in constant_tensors(source.model) if tensor.size == 16]
    assert found
    assert all(np.array_equal(array, WEIGHT) for array in found)


def test_external_data_stays_mapped_from_the_file_to_the_weight_store(folder: Path) -> None:
    source = load_source(saved(folder, with_weight("w.bin")))
    tensor = source.model.graph.initializers["w"].const_value
    assert isinstance(tensor, ir.ExternalTensor)
    address = tensor.numpy().ctypes.data
    assert isinstance(tensor.raw, mmap.mmap)
    assert Importer(source.model).get_buffer("w0").data_ptr() == address

    result = convert(source, "main", {"x": normal(3, 4)})

    (ref,) = result.function.weights.values()
    assert result.weights.blobs[ref.digest].ctypes.data == address
    assert not result.weights.blobs[ref.digest].flags.writeable


def test_mapped_weights_are_in_no_memory_once_they_were_used(folder: Path) -> None:
    """Neither after they were hashed nor after the program ran; it answers the same each time."""
    (folder / "w.bin").write_bytes(normal(64, 64).tobytes())
    model = parsed("g (float[n, 64] x) => (float[n, 64] y) { y = MatMul (x, w) }")
    model.graph.initializer.append(external(numpy_helper.from_array(normal(64, 64), "w"), "w.bin"))
    result = convert(load_source(saved(folder, model)), "main", {"x": normal(3, 64)})
    assert resident(folder / "w.bin") == 0
    seen: list[int] = []

    def observe(*_: object) -> None:
        seen.append(resident(folder / "w.bin"))

    for _ in range(2):
        (found,) = run_function(result.function, result.weights, [torch.from_numpy(normal(3, 64))], observe)
        np.testing.assert_allclose(found, normal(3, 64) @ normal(64, 64), rtol=1e-4, atol=1e-4)
    assert max(seen) > 0
    assert resident(folder / "w.bin") == 0


def test_a_missing_file_is_one_problem_for_all_its_tensors(folder: Path) -> None:
    model = with_weight("missing.bin")
    for number in range(3):
        model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
        model.graph.initializer[-1].name = f"more{number}"
    assert (
        message_of(saved(folder, model)) == "external data file 'missing.bin' is missing, and 3 more tensors lie in it"
    )
