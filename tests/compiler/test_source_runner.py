from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from artifacts.errors import MissingToolError, RunError
from artifacts.mapped_areas import unwritten_areas
from compiler.source_runner import Answers, SourceRunner
from compiler.source_session import SourceSession
from tests.support.models import Array, floats, graph_model, normal, perceptron, saved


@pytest.fixture
def runner(perceptron_file: Path) -> SourceRunner:
    return SourceRunner(perceptron_file)


def test_outputs_by_name(runner: SourceRunner) -> None:
    x, model = normal(3, 16, seed=5), perceptron()
    first, bias, second = (onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
    outputs = runner.run({"x": x})
    assert list(outputs) == ["y"]
    y: Array = outputs["y"]
    np.testing.assert_allclose(y, np.maximum(x @ first + bias, 0) @ second, rtol=1e-4, atol=1e-5)


def test_arrays_that_are_no_inputs_are_left_aside(runner: SourceRunner) -> None:
    x = normal(3, 16)
    np.testing.assert_array_equal(runner.run({"x": x, "y": x})["y"], runner.run({"x": x})["y"])


def test_a_value_inside_the_graph(runner: SourceRunner) -> None:
    hidden = runner.value("hidden", {"x": normal(3, 16)})
    assert hidden.shape == (3, 32)
    assert hidden.min() == 0


def test_a_value_that_there_is_not(runner: SourceRunner) -> None:
    with pytest.raises(RunError, match=r"perceptron\.onnx"):
        runner.value("nothing", {"x": normal(3, 16)})


@pytest.mark.parametrize(
    ("inputs", "shapes"),
    [
        ({"x": normal(3, 17)}, "x:3x17"),
        ({"x": normal(3)}, "x:3"),
        ({"x": normal(3, 16).astype(np.float64)}, "x:3x16"),
        ({}, "fails on"),
    ],
)
def test_inputs_that_it_refuses_are_named(runner: SourceRunner, inputs: dict[str, Any], shapes: str) -> None:
    with pytest.raises(RunError) as caught:
        runner.run(inputs)
    (problem,) = caught.value.problems
    assert problem.subject == "perceptron.onnx"
    assert shapes in problem.message
    assert "\n" not in problem.message


def test_inputs_that_fail_inside_the_graph(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "sizes"], ["y"])]
    model = graph_model(nodes, [floats("x", "n")], [floats("y", "a", 7)], {"sizes": np.array([-1, 7])})
    runner = SourceRunner(saved(model, tmp_path / "reshape.onnx"))
    assert runner.run({"x": normal(14)})["y"].shape == (2, 7)
    with pytest.raises(RunError, match="x:15"):
        runner.run({"x": normal(15)})


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x09"])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises(RunError, match=r"broken\.onnx: ONNX Runtime cannot load"):
        SourceRunner(tmp_path / "broken.onnx").run({})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot load"):
        SourceRunner(tmp_path / "missing.onnx").run({})


def test_an_operator_that_the_runtime_does_not_have(tmp_path: Path) -> None:
    nodes = [helper.make_node("Frobnicate", ["x"], ["y"], domain="nowhere")]
    model = graph_model(nodes, [floats("x", 2)], [floats("y", 2)])
    model.opset_import.append(helper.make_opsetid("nowhere", 1))
    with pytest.raises(RunError, match="Frobnicate"):
        SourceRunner(saved(model, tmp_path / "model.onnx")).run({})


def test_weights_inside_a_model_are_mapped_where_they_are(tmp_path: Path) -> None:
    session = SourceSession(saved(perceptron(), tmp_path / "model.onnx"))
    assert unwritten_areas(tmp_path)
    assert session.run({"x": normal(2, 16)})["y"].shape == (2, 8)


def test_a_link_to_a_model_leads_to_its_weights(tmp_path: Path) -> None:
    """Also where other weights lie beside the link."""
    file = saved(perceptron(), tmp_path / "blobs" / "0123")
    (tmp_path / "model.onnx").symlink_to(file)
    x = normal(2, 16)
    expected = SourceRunner(file).run({"x": x})["y"]
    np.testing.assert_array_equal(SourceRunner(tmp_path / "model.onnx").run({"x": x})["y"], expected)
    np.testing.assert_array_equal(
        SourceRunner(tmp_path / "model.onnx", data_folder=tmp_path).run({"x": x})["y"], expected
    )


def test_weights_beside_the_model_are_found(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(perceptron(), path, save_as_external_data=True, location="model.data", size_threshold=0)
    x = normal(2, 16)
    expected = SourceRunner(saved(perceptron(), tmp_path / "whole.onnx")).run({"x": x})
    np.testing.assert_array_equal(SourceRunner(path).run({"x": x})["y"], expected["y"])


def test_without_the_runtime_the_hint_says_what_to_install(
    perceptron_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingToolError) as caught:
        SourceRunner(perceptron_file).run({})
    assert "pip install" in caught.value.problems[0].hint


def test_a_model_that_cannot_be_opened_is_known_as_refused_and_one_that_fails_on_inputs_is_not(
    runner: SourceRunner, tmp_path: Path
) -> None:
    with pytest.raises(RunError):
        runner.run({"x": normal(2, 3)})
    assert not runner.is_refused
    broken = SourceRunner(tmp_path / "missing.onnx")
    for _ in range(2):
        with pytest.raises(RunError, match="cannot load"):
            broken.run({})
    assert broken.is_refused


def test_answers_that_are_known_open_nothing(perceptron_file: Path, tmp_path: Path) -> None:
    answers: Answers = {}
    x = normal(2, 16)
    expected = SourceRunner(perceptron_file, answers=answers).run({"x": x})["y"]
    again = SourceRunner(tmp_path / "missing.onnx", answers=answers)
    np.testing.assert_array_equal(again.run({"x": x})["y"], expected)
    with pytest.raises(RunError, match="cannot load"):
        again.run({"x": x + 1})
