"""Files that are made to be trouble, and places that cannot be written: one clear error, and nothing left."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from onnx import GraphProto, ModelProto, TensorProto, helper

from tests.support.cli import child_environment, unspool
from tests.support.models import floats, graph_model, normal, perceptron, saved

SECONDS = 60.0
"""Far above what any of these takes, far below what following one of them to its end would."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def node(kind: str) -> onnx.NodeProto:
    return helper.make_node(kind, ["x"], ["y"])


def written(model: ModelProto) -> bytes:
    return bytes(model.SerializeToString())


def one_node(one: onnx.NodeProto, *functions: onnx.FunctionProto) -> ModelProto:
    model = graph_model([one], [floats("x", 2)], [floats("y", 2)])
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.functions.extend(functions)
    return model


def function(name: str, *kinds: tuple[str, str]) -> onnx.FunctionProto:
    """A function whose nodes follow each other, given by domain and operator."""
    nodes = [helper.make_node(kind, [f"v{n}"], [f"v{n + 1}"], domain=domain) for n, (domain, kind) in enumerate(kinds)]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    return helper.make_function("mine", name, ["v0"], [f"v{len(kinds)}"], nodes, opsets)


def subgraphs(deep: int) -> bytes:
    """An If in an If in an If; written innermost first, as one message inside the next."""
    graph: GraphProto = helper.make_graph([node("Identity")], "leaf", [], [floats("y", 2)])
    for _ in range(deep):
        branches = {"then_branch": graph, "else_branch": graph} if graph.name == "leaf" else {"then_branch": graph}
        inner = helper.make_node("If", ["c"], ["y"], **branches)
        graph = helper.make_graph([inner], "level", [], [floats("y", 2)])
    model = one_node(node("Identity"))
    model.graph.node[0].CopyFrom(graph.node[0])
    return written(model)


def chain_of_functions(length: int, calls: int) -> bytes:
    """Functions of which each calls the next one, several times."""
    links = [function(f"f{n}", *[("mine", f"f{n + 1}")] * calls) for n in range(length)]
    last = function(f"f{length}", ("", "Neg"))
    return written(one_node(helper.make_node("f0", ["x"], ["y"], domain="mine"), *links, last))


def declared(*shape: int) -> bytes:
    return written(graph_model([node("Neg")], [floats("x", *shape)], [floats("y", *shape)]))


def weight(*shape: int) -> bytes:
    model = graph_model([helper.make_node("Add", ["x", "w"], ["y"])], [floats("x", 2)], [floats("y", 2)])
    model.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=shape, raw_data=b"\0" * 8))
    return written(model)


def made_of_a_shape(*shape: int) -> bytes:
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["z"]), helper.make_node("Add", ["x", "z"], ["y"])]
    model = graph_model(nodes, [floats("x", 1)], [floats("y", *shape)])
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.INT64, [len(shape)], shape))
    return written(model)


def repeated(change: Callable[[ModelProto], None]) -> bytes:
    model = perceptron()
    change(model)
    return written(model)


def many_names(model: ModelProto) -> None:
    model.graph.node[0].input.extend([f"n{n}" for n in range(100_000)])


def many_opsets(model: ModelProto) -> None:
    model.opset_import.extend(helper.make_opsetid("", 1000 + n) for n in range(100_000))


def many_attributes(model: ModelProto) -> None:
    many = helper.make_attribute("many", list(range(1_000_000)))
    model.graph.node[0].attribute.append(many)


def many_dims(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim.extend(
        onnx.TensorShapeProto.Dimension(dim_value=1) for _ in range(100_000)
    )


def many_inputs(model: ModelProto) -> None:
    model.graph.input.extend([model.graph.input[0]] * 100_000)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"not a model\n" * 10,
    "a zip": lambda: b"PK\x03\x04" + bytes(100),
    "subgraphs nested 30 deep": lambda: subgraphs(30),
    "functions nested 100 deep": lambda: chain_of_functions(100, 1),
    "functions that come to 2 ** 40 nodes": lambda: chain_of_functions(40, 2),
    "an input of 2 ** 62 elements": lambda: declared(1 << 31, 1 << 31),
    "an input of more elements than can be counted": lambda: declared(*[1 << 40] * 5),
    "a weight of 2 ** 62 elements": lambda: weight(1 << 31, 1 << 31),
    "a weight of a negative size": lambda: weight(-2),
    "a value of 2 ** 50 elements": lambda: made_of_a_shape(1 << 25, 1 << 25),
    "100,000 inputs of a node": lambda: repeated(many_names),
    "100,000 opsets": lambda: repeated(many_opsets),
    "1,000,000 numbers in an attribute": lambda: repeated(many_attributes),
    "100,000 dimensions": lambda: repeated(many_dims),
    "100,000 inputs of a graph": lambda: repeated(many_inputs),
}


@pytest.mark.parametrize("made", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, made: Callable[[], bytes]
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(made())
    began = time.monotonic()
    is_refused(capsys, model, tmp_path / "new" / "out")
    assert time.monotonic() - began < SECONDS
    assert names(tmp_path) == ["model.onnx"]


def is_refused(capsys: pytest.CaptureFixture[str], model: Path, bundle: Path, status: int = 1) -> None:
    found = unspool(capsys, "compile", model, "-o", bundle, "--json")
    assert (found.status, found.stderr.count("Traceback")) == (status, 0)
    for error in found.document["errors"]:
        assert error["stage"] != "internal"
        assert all(error.values()), error
        assert len(error["message"]) < 2000


def test_a_folder_without_a_model_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    is_refused(capsys, tmp_path / "model.onnx", tmp_path / "out", status=2)
    assert names(tmp_path) == ["model.onnx"]


def boundaries(data: bytes) -> Iterator[int]:
    """Where a message of Protocol Buffers can be cut and still be one: between fields, of the file and of the graph."""
    place = 0
    while place < len(data):
        yield place
        key, place = varint(data, place)
        size, place = varint(data, place)
        if key & 7 == 2:
            if key >> 3 == ModelProto.GRAPH_FIELD_NUMBER:
                yield from (place + inner for inner in boundaries(data[place : place + size]))
            place += size


def varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while data[place] & 0x80:
        value |= (data[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return value | data[place] << shift, place + 1


def test_a_file_cut_between_fields_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    # The graph comes last in the file of this writer only if its opsets are moved before it.
    model = perceptron()
    opsets = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import).SerializeToString()
    data = opsets + ModelProto(graph=model.graph).SerializeToString()
    assert onnx.ModelProto.FromString(data) == ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, graph=model.graph
    )
    places = sorted(set(boundaries(data)))
    assert len(places) > 8
    path = tmp_path / "model.onnx"
    for place in places:
        path.write_bytes(data[:place])
        is_refused(capsys, path, tmp_path / "out")
    assert names(tmp_path) == ["model.onnx"]


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[int]:
    """A file system of so many bytes at the folder, where this user may mount one.

    Gives the most bytes that a file may have: elsewhere that is what has to look like a full disk.
    """
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield size // 4
        return
    try:
        yield 1 << 40
    finally:
        subprocess.run(["umount", str(folder)], check=True)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from compiler.cli.main import run
run(["compile", sys.argv[2], "-o", sys.argv[3]])
"""


@pytest.mark.parametrize("width", [8, 64], ids=["for engines", "for weights"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, width: int) -> None:
    weights = {"w": normal(width, width)}
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = graph_model([product], [floats("x", 2, width)], [floats("y", 2, width)], weights)
    path = saved(model, tmp_path / "model.onnx")
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, resource.getpagesize()) as limit:
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(limit), str(path), str(disk / "new" / "out")],
            env=child_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        left = names(disk)
    assert (done.returncode, left) == (1, []), done.stderr
    assert done.stderr.count("error: bundle: ") == 1
    assert done.stderr.count("hint: ") == 1
    assert "cannot be written: " in done.stderr
    assert "free some space" in done.stderr


@pytest.mark.parametrize("place", ["model.onnx/out", "/proc/out", "/dev/null/out"])
def test_a_place_that_cannot_be_written_is_one_clear_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, place: str
) -> None:
    model = saved(perceptron(), tmp_path / "model.onnx")
    found = unspool(capsys, "compile", model, "-o", tmp_path / place, "--json")
    assert found.status == 1
    assert found.error["stage"] == "bundle"
    assert "cannot be written: " in found.error["message"]
    assert names(tmp_path) == ["model.onnx"]
