"""Models whose loops only a request counts, from the command line to a session, at several sizes."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from artifacts.bundle import Bundle
from artifacts.runtime import Session
from compiler import emit_onnx, onnx_translations
from compiler.onnx_translations.opset import op
from tests.support.cli import unspool
from tests.support.looping import LOOPS, greedy_model
from tests.support.models import Array, saved
from tests.support.onnxruntime_models import answers


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_compiles_and_runs_as_often_as_each_request_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    case = LOOPS[name]
    path, bundle = saved(case.model, tmp_path / "model.onnx"), tmp_path / "bundle"
    found = unspool(capsys, "compile", path, "-o", bundle, "--require", "verified")
    assert found.status == 0, found.stderr
    with Session.open(bundle) as session:
        for request in case.requests:
            results = session.run(request)
            for result, expected in zip(results.values(), answers(case.model, [*request.values()]), strict=True):
                assert result.shape == expected.shape
                np.testing.assert_allclose(result, expected, 1e-5, 1e-5)
    assert unspool(capsys, "verify", bundle, "--against", path).status == 0


def test_weights_of_a_body_are_stored_once_and_outside_the_engine(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Two loops and the graph around them use one matrix of 256 KB."""
    loop = """{0} = Loop (count, , {1}) <
        body = step{0} (int64 i{0}, bool on{0}, float[n, 256] a{0}) => (bool more{0}, float[n, 256] b{0}) {{
            more{0} = Identity (on{0})
            p{0} = MatMul (a{0}, w)
            b{0} = Tanh (p{0})
        }}
    >"""
    text = f"""<ir_version: 10, opset_import: ["": 21]>
        graph (float[n, 256] x, int64 count) => (float[n, 256] y)
        {{ {loop.format("first", "x")} {loop.format("second", "first")} y = MatMul (second, w) }}"""
    model = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32) / 16
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    bundle = tmp_path / "bundle"
    assert unspool(capsys, "compile", saved(model, tmp_path / "model.onnx"), "-o", bundle).status == 0
    (shard,) = (bundle / "weights").iterdir()
    assert weight.nbytes <= shard.stat().st_size < weight.nbytes + 4096
    (engine,) = Bundle.open(bundle).manifest.engines.values()
    assert (bundle / engine.source).stat().st_size < 8192


def _matmul(a: Any, b: Any) -> Any:
    return op.Add(op.MatMul(a, b), op.Constant(value_float=0.01))


def test_a_fault_inside_a_body_is_found_at_its_loop(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = {torch.ops.aten.mm.default: _matmul, torch.ops.aten.matmul.default: _matmul}
    translations = MappingProxyType({**onnx_translations.TRANSLATIONS, **wrong})
    monkeypatch.setattr(emit_onnx, "TRANSLATIONS", translations)
    path = saved(LOOPS["counted"].model, tmp_path / "model.onnx")
    found = unspool(capsys, "compile", path, "-o", tmp_path / "bundle", "--json")
    assert found.status == 1
    message = found.document["errors"][0]["message"]
    assert re.search(r"first moved in engine 'engines/model.onnx' at node .* \(source node 'Loop:last'\)", message)


def greedy_request(batch: int, length: int, most: int) -> dict[str, Array]:
    mask = np.ones((batch, length), np.int64)
    mask[0, length - length // 4 :] = 0
    ids = np.random.default_rng(batch * length).integers(2, 200, (batch, length))
    return {"input_ids": ids, "attention_mask": mask, "most": np.array(most)}


@pytest.mark.slow
def test_a_decoder_in_a_loop_gives_the_sources_tokens(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = greedy_model()
    path, bundle = saved(model, tmp_path / "model.onnx"), tmp_path / "bundle"
    found = unspool(capsys, "compile", path, "-o", bundle, "--require", "verified")
    assert found.status == 0, found.stderr
    lengths = set()
    with Session.open(bundle) as session:
        for request in (greedy_request(*sizes) for sizes in ((2, 5, 6), (3, 7, 20), (1, 4, 12), (1, 1, 1), (4, 9, 30))):
            (tokens,) = session.run(request).values()
            np.testing.assert_array_equal(tokens, answers(model, [*request.values()])[0])
            lengths.add((tokens.shape[1] - 1) / request["most"])
    assert min(lengths) < 1 == max(lengths), "some end before the limit"
