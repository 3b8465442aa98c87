from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from artifacts.errors import SourceError
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile
from tests.support.models import floats, graph_model, normal, perceptron, saved


def test_a_weight_that_is_nan_is_named_with_the_output_and_the_node(tmp_path: Path) -> None:
    model = perceptron()
    bias = normal(32)
    bias[:] = np.nan
    next(t for t in model.graph.initializer if t.name == "bias").CopyFrom(numpy_helper.from_array(bias, "bias"))
    path = saved(model, tmp_path / "model.onnx")
    with pytest.raises(SourceError) as caught:
        compile_bundle([ModelFile("m", path)], tmp_path / "out", CompileOptions())
    (problem,) = caught.value.problems
    assert problem.subject == "output 'y'"
    assert (
        problem.message == "is NaN throughout, in every sample, first at node 'Add:sum', whose weight 'bias' holds NaN"
    )
    assert "--samples" in problem.hint
    assert sorted(tmp_path.iterdir()) == [path]


def test_nan_in_some_places_is_a_notice(tmp_path: Path) -> None:
    """The logarithm of what may be negative, beside an output that has numbers."""
    nodes = [
        helper.make_node("Neg", ["x"], ["turned"]),
        helper.make_node("Log", ["turned"], ["y"]),
        helper.make_node("Relu", ["turned"], ["z"]),
    ]
    ports = [floats(name, "batch", 8) for name in ("x", "y", "z")]
    path = saved(graph_model(nodes, ports[:1], ports[1:]), tmp_path / "model.onnx")
    compiled = compile_bundle([ModelFile("m", path)], tmp_path / "out", CompileOptions())
    (notice,) = compiled.report.notices
    assert notice.startswith(
        "m: output 'y' holds NaN in 3 of 3 samples, first at node 'Log:y': give inputs of your own"
    )
