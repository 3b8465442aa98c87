from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper

from artifacts.errors import NumericsError, UnsupportedError, UsageError
from artifacts.spec import Signature
from compiler.build_log import BuildLog
from compiler.convert import convert_to_file
from compiler.options import CompileOptions, ModelFile
from tests.support.models import DATA, Array, floats, graph_model, known_io, normal, saved, source_outputs

LOG = BuildLog(quiet=True)


def convert(model: Path, output: Path, *, force: bool = False, **options: object) -> tuple[Signature, float]:
    settings = CompileOptions(**options)  # type: ignore[arg-type]  # each test gives what the option takes
    return convert_to_file(ModelFile("m", model), output, settings, force=force, log=LOG)


def run(program: Path, *inputs: Array) -> list[Array]:
    module = torch.export.load(program).module()
    with torch.no_grad():
        return [output.numpy() for output in module(*(torch.from_numpy(array.copy()) for array in inputs))]


def test_torch_loads_it_and_computes_the_same(perceptron_file: Path, tmp_path: Path) -> None:
    signature, worst = convert(perceptron_file, tmp_path / "m.pt2")
    assert str(signature) == "(x: float32[batch, 16]) -> (y: float32[batch, 8])"
    assert worst < 1e-4
    for batch in (2, 5, 33):
        x = normal(batch, 16, seed=batch)
        np.testing.assert_allclose(
            run(tmp_path / "m.pt2", x)[0], source_outputs(perceptron_file, {"x": x})["y"], rtol=1e-4, atol=1e-5
        )


def test_a_real_model_computes_what_its_module_did(tmp_path: Path) -> None:
    io = known_io("bert_tiny/model")
    convert(DATA / "bert_tiny" / "model.onnx", tmp_path / "bert.pt2")
    (logits,) = run(tmp_path / "bert.pt2", *(io[n] for n in ("input_ids", "attention_mask", "token_type_ids")))
    np.testing.assert_allclose(logits, io["logits"], rtol=1e-4, atol=1e-5)


def test_a_decoder_with_known_tokens_is_converted_as_it_is(toy_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "beside"
    folder.mkdir()
    (folder / "toy.onnx").write_bytes(toy_file.read_bytes())
    (folder / "config.json").write_text('{"bos_token_id": 1, "eos_token_id": 2}')
    signature, _ = convert(folder / "toy.onnx", tmp_path / "toy.pt2")
    assert [spec.name for spec in signature.inputs] == ["x", "tokens"]


def test_a_file_that_is_there_is_replaced_only_by_force(perceptron_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.pt2"
    output.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        convert(perceptron_file, output)
    assert output.read_text() == "mine"
    convert(perceptron_file, output, force=True)
    assert len(run(output, normal(2, 16))) == 1


def test_a_folder_that_is_not_there_is_named(perceptron_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        convert(perceptron_file, tmp_path / "no" / "m.pt2")


def test_everything_that_cannot_be_converted_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["a"], domain="nowhere"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Transmogrify", ["b"], ["y"], domain="nowhere"),
    ]
    model = graph_model(nodes, [floats("x", 2)], [floats("y", 2)])
    model.opset_import.append(helper.make_opsetid("nowhere", 1))
    saved(model, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedError) as caught:
        convert(tmp_path / "model.onnx", tmp_path / "m.pt2")
    assert [p.subject for p in caught.value.problems] == ["nowhere.Frobnicate-1", "nowhere.Transmogrify-1"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_difference_past_the_tolerance_leaves_nothing(perceptron_file: Path, tmp_path: Path) -> None:
    with pytest.raises(NumericsError):
        convert(perceptron_file, tmp_path / "m.pt2", atol=0.0, rtol=0.0)
    assert list(tmp_path.iterdir()) == []
