from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
from onnx import ModelProto, helper

from artifacts.errors import ModelFormatError, SourceError
from artifacts.samples import Arrays, read_arrays
from artifacts.spec import Signature
from compiler.options import FurtherParts, ModelFile
from compiler.parts.folder import model_in_folder
from compiler.parts.opening import opened_source
from compiler.source_runner import SourceRunner
from passes.onnx_to_torch.convert import source_signature
from passes.onnx_to_torch.source import source_files
from tests.support import parts
from tests.support.models import DATA, floats, ints, saved

FORMS = {"plain": parts.decoder, "merged": parts.merged}


def answers(model: ModelFile, *requests: Arrays) -> list[Arrays]:
    with opened_source(model) as source:
        runner = SourceRunner(source.path, data_folder=source.data_folder)
        return [runner.run(inputs) for inputs in requests]


def signature(model: ModelFile) -> Signature:
    with opened_source(model) as source:
        return source_signature(source)


def digest(model: ModelFile) -> str:
    with opened_source(model) as source:
        return source.digest


@pytest.mark.parametrize("form", FORMS)
def test_the_parts_answer_as_one_model(form: str, tmp_path: Path) -> None:
    model = model_in_folder("m", parts.written(tmp_path, FORMS[form]()))
    requests = [parts.requests(2, 5, 3), parts.requests(3, 4, 6), parts.requests(1, 1, 1)]
    for inputs, found in zip(requests, answers(model, *requests), strict=True):
        assert list(found) == ["logits"], "what a cache would hold is left out"
        np.testing.assert_allclose(found["logits"], parts.scores(inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_two_lengths_of_one_name_stay_two(form: str, tmp_path: Path) -> None:
    """Both files call their length `sequence`: joined by name alone, the two would have to be equal."""
    found = signature(model_in_folder("m", parts.written(tmp_path, FORMS[form]())))
    assert [str(spec) for spec in found.inputs] == [
        "input_ids: int64[batch, sequence]",
        "attention_mask: int64[batch, sequence]",
        "decoder_input_ids: int64[batch, decoder_sequence]",
    ]
    assert [str(spec) for spec in found.outputs] == ["logits: float32[batch, decoder_sequence, 100]"]


def test_the_merged_decoder_leaves_no_branch_behind(tmp_path: Path) -> None:
    with opened_source(model_in_folder("m", parts.written(tmp_path, parts.merged()))) as source:
        operators = {node.op_type for node in ir.traversal.RecursiveGraphIterator(source.model.graph)}
    assert "If" not in operators
    assert "Concat" not in operators, "that is the branch with a cache"


@pytest.mark.parametrize("external", [(), ("encoder",), ("decoder",), ("encoder", "decoder")])
def test_large_weights_are_referred_to_where_they_are(external: tuple[str, ...], tmp_path: Path) -> None:
    """In the parts' own files or in their data files, in folders of their own: none of them is written again."""
    folders = {name: parts.written(tmp_path / name) for name in ("encoder", "decoder")}
    files = {name: folder / parts.NAMES[name] for name, folder in folders.items()}
    for name in external:
        parts.with_external_data(files[name])
    model = ModelFile("m", files["decoder"], FurtherParts(files["encoder"]))
    with opened_source(model) as source:
        weights = {name: value.const_value for name, value in source.model.graph.initializers.items()}
        large = {name: tensor for name, tensor in weights.items() if tensor is not None and tensor.nbytes >= 1024}
        assert {tensor.location for tensor in large.values() if isinstance(tensor, ir.ExternalTensor)} == {
            f"{name}/{parts.NAMES[name]}{'_data' * (name in external)}" for name in files
        }
        found = sorted(tensor.numpy().tobytes() for tensor in large.values())
        assert found == sorted(array.tobytes() for array in (parts.READ, parts.WRITTEN, parts.HEAD))
        assert source.path.stat().st_size < 1024 + parts.READ.nbytes
        assert not source.path.is_relative_to(tmp_path), "nothing is written into the model's folders"
        assert set(files.values()) < {*source_files(source)} if external else set(files.values())
    inputs = parts.requests()
    np.testing.assert_allclose(answers(model, inputs)[0]["logits"], parts.scores(inputs), rtol=1e-5, atol=1e-5)


def _with_a_weight() -> tuple[ModelProto, npt.NDArray[np.float32]]:
    weight = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [floats("x", "n", 32)],
        [floats("y", "n", 32)],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), weight


@pytest.mark.parametrize("linked", [False, True])
def test_large_weights_of_one_file_are_read_from_it(linked: bool, tmp_path: Path) -> None:
    """From where a link leads, too: caches of models keep the files elsewhere."""
    proto, weight = _with_a_weight()
    file = saved(proto, tmp_path / "blobs" / "0123")
    model = tmp_path / "model.onnx"
    if linked:
        model.symlink_to(file)
    with opened_source(ModelFile("m", model if linked else file)) as source:
        held = source.model.graph.initializers["w"].const_value
        assert isinstance(held, ir.ExternalTensor)
        assert (Path(held.base_dir), held.location) == (file.parent, file.name)
        np.testing.assert_array_equal(held.numpy(), weight)


def test_behind_fields_that_protobuf_skips_weights_stay_in_memory(tmp_path: Path) -> None:
    """A group, which no version of the format has had for long, is skipped by every reader."""
    proto, weight = _with_a_weight()
    file = tmp_path / "model.onnx"
    start_of_group, end_of_group = b"\xcb\x3e", b"\xcc\x3e"
    file.write_bytes(start_of_group + end_of_group + proto.SerializeToString())
    with opened_source(ModelFile("m", file)) as source:
        held = source.model.graph.initializers["w"].const_value
        assert held is not None
        assert not isinstance(held, ir.ExternalTensor)
        np.testing.assert_array_equal(held.numpy(), weight)


def test_external_data_outside_a_parts_own_folder_is_refused(tmp_path: Path) -> None:
    """The folder above both parts is open to neither of them."""
    model = model_in_folder("m", parts.written(tmp_path / "parts"))
    parts.with_external_data(model.path)
    proto = onnx.load_model(model.path, load_external_data=False)
    shutil.move(f"{model.path}_data", tmp_path / "data")
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../data" if entry.key == "location" else entry.value
    model.path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelFormatError, match="is not inside the model's folder"):
        digest(model)


def test_the_digest_is_that_of_every_part_and_of_no_place(tmp_path: Path) -> None:
    folder = parts.written(tmp_path / "a", past=parts.with_past())
    model = model_in_folder("m", folder)
    elsewhere = Path(shutil.copytree(folder, tmp_path / "deep" / "b"))
    assert digest(model_in_folder("m", elsewhere)) == digest(model)
    seen = {digest(model)}
    for name in parts.NAMES.values():
        proto = onnx.load_model(folder / name)
        proto.producer_name = "another"
        saved(proto, folder / name)
        seen.add(digest(model))
    assert len(seen) == 4


def test_the_composed_file_is_gone_afterwards(tmp_path: Path) -> None:
    with opened_source(model_in_folder("m", parts.written(tmp_path))) as source:
        assert source.path.exists()
    assert not source.path.parent.exists()


def test_everything_that_goes_with_nothing_is_told_at_once(tmp_path: Path) -> None:
    decoder = parts.decoder()
    for name, width in (("style", 7), ("encoder_features", 9)):
        decoder.graph.input.append(floats(name, "batch", "n", width))
        decoder.graph.node.append(helper.make_node("ReduceSum", [name], [f"{name}_sum"], keepdims=0))
        decoder.graph.node.append(helper.make_node("Add", ["logits", f"{name}_sum"], [f"{name}_out"]))
        decoder.graph.output.append(floats(f"{name}_out", "batch", "sequence", parts.WORDS))
    with pytest.raises(SourceError) as caught:
        digest(model_in_folder("m", parts.written(tmp_path, decoder)))
    subjects = [problem.subject for problem in caught.value.problems]
    assert [name for name in ("style", "encoder_features") if any(name in subject for subject in subjects)] == [
        "style",
        "encoder_features",
    ]
    assert "last_hidden_state: float32[batch, sequence, 4]" in caught.value.problems[0].hint


def test_a_decoder_that_needs_its_cache_is_told(tmp_path: Path) -> None:
    decoder = parts.with_past()
    with pytest.raises(SourceError, match="takes 1 token at a time"):
        digest(model_in_folder("m", parts.written(tmp_path, decoder)))
    decoder.graph.input[0].CopyFrom(ints("input_ids", "batch", "sequence"))
    with pytest.raises(SourceError, match=r"past_key_values.0.decoder.sum.*is a cache"):
        digest(model_in_folder("m", parts.written(tmp_path, decoder)))


def test_unlike_opsets_are_told(tmp_path: Path) -> None:
    decoder = parts.decoder()
    decoder.opset_import[0].version = 18
    with pytest.raises(SourceError, match=r"the encoder uses version 17 of ai\.onnx, the decoder version 18"):
        digest(model_in_folder("m", parts.written(tmp_path, decoder)))


def test_functions_of_one_name_stay_two(tmp_path: Path) -> None:
    """Each part calls a function `own.scale` of its own, which multiplies by 2 in one and by 3 in the other."""
    encoder, decoder = _scaled(parts.encoder(), 2.0), _scaled(parts.decoder(), 3.0)
    folder = parts.written(tmp_path, decoder)
    saved(encoder, folder / parts.NAMES["encoder"])
    inputs = parts.requests()
    mask = inputs["attention_mask"][..., None]
    mean = 2 * (parts.READ[inputs["input_ids"]] * mask).sum(1) / mask.sum(1)
    expected = 3 * (parts.WRITTEN[inputs["decoder_input_ids"]].cumsum(1) + mean[:, None]) @ parts.HEAD
    found = answers(model_in_folder("m", folder), inputs)[0]["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def _scaled(model: ModelProto, factor: float) -> ModelProto:
    """The model with its first output multiplied, in a model-local function."""
    opsets = [helper.make_opsetid("", 17)]
    nodes = [
        helper.make_node("Constant", [], ["factor"], value_float=factor),
        helper.make_node("Mul", ["x", "factor"], ["y"]),
    ]
    model.functions.append(helper.make_function("own", "scale", ["x"], ["y"], nodes, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    name = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["unscaled" if output == name else output for output in node.output]
    model.graph.node.append(helper.make_node("scale", ["unscaled"], [name], domain="own"))
    return model


@pytest.mark.parametrize("family", ["bart_tiny", "t5_tiny"])
def test_exported_parts_answer_as_the_model_that_was_exported(family: str) -> None:
    """By the PyTorch module's own scores; the parts are as Optimum names and divides them."""
    known = read_arrays(DATA / family / "parts" / "test_io.npz")
    model = model_in_folder(family, DATA / family / "parts")
    names = [spec.name for spec in signature(model).inputs]
    assert names == ["input_ids", "attention_mask", "decoder_input_ids"]
    found = answers(model, {name: known[name] for name in names})[0]["logits"]
    np.testing.assert_allclose(found, known["logits"], rtol=1e-4, atol=1e-5)
