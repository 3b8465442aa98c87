"""ONNX Runtime computes what weights alone decide when it opens an engine: of a turned weight it must have no copy."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from artifacts.shards import ShardIndex
from compiler.emit_onnx import attach_weights, emit_onnx, serialized
from compiler.targets.target import Placement
from passes.deduplicate_weights import DeduplicateWeights
from passes.interpreter import call
from tests.support.programs import Array, bare, normal, parsed, tokens

W = normal(30, 24)
ALL = {"w": W, "c": normal(30, seed=1), "v": W.T.copy()}
FORMS = {
    "a product": ("float[b, s, 24]", "t = Transpose <perm = [1, 0]> (w) y = MatMul (x, t)"),
    "a product of matrices": ("float[b, 24]", "t = Transpose <perm = [1, 0]> (w) y = MatMul (x, t)"),
    "a product and a bias": ("float[b, s, 24]", "t = Transpose <perm = [1, 0]> (w) z = MatMul (x, t) y = Add (z, c)"),
    "a Gemm": ("float[b, 24]", "y = Gemm <transB = 1> (x, w, c)"),
    "the head of an embedding": ("int64[b, s]", "h = Gather (w, x) y = MatMul (h, v)"),
    "two products": (
        "float[b, s, 24]",
        "t = Transpose <perm = [1, 0]> (w) z = MatMul (x, t) u = MatMul (z, w) y = MatMul (u, t)",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_engine_holds_a_weight_once_when_it_is_open(tmp_path: Path, form: str) -> None:
    given, text = FORMS[form]
    result = "float[b, 30]" if given == "float[b, 24]" else "float[b, s, 30]"
    used = set(re.findall(r"\b[wcv]\b", text))
    weights = {name: array for name, array in ALL.items() if name in used}
    sample = {"int64[b, s]": tokens(2, 3), "float[b, 24]": normal(3, 24)}.get(given, normal(2, 3, 24))
    program = bare(parsed(f"g ({given} x) => ({result} y) {{ {text} }}", **weights), {"x": sample})
    program = DeduplicateWeights(least=W.nbytes - 1)(program).program

    body = emit_onnx(program.functions["main"])
    engine, _ = attach_weights(body, Placement(tmp_path, program.weights, ShardIndex({})), inline_bytes=W.nbytes)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session = onnxruntime.InferenceSession(serialized(engine), options, providers=["CPUExecutionProvider"])

    optimized = onnx.load(tmp_path / "optimized.onnx")
    large = [tuple(t.dims) for t in optimized.graph.initializer if len(t.raw_data) > W.nbytes // 2]
    assert large == [W.shape]
    (found,) = session.run(None, {"x": sample})
    expected: Array = call(program, "main", {"x": sample})["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
