"""Convolutions of single channels as AWS Neuron is handed them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("jax")

from compiler.compile import compile_bundle
from compiler.hlo.instructions import Instruction, instructions
from compiler.options import CompileOptions, ModelFile
from compiler.targets.neuronx import NeuronxTarget
from tests.support.models import normal, saved
from tests.support.programs import parsed

BLOCK = """
block (float[n, 16, t] x) => (float[n, 16, s] y) {
    wide = Conv (x, first)
    inner = Conv <pads = [7, 7], group = 16> (wide, depthwise)
    gate = Sigmoid (inner)
    swish = Mul (inner, gate)
    y = Conv (swish, last)
}
"""
"""What stands in the middle of a conformer's convolution module."""


def compiled(folder: Path) -> tuple[list[Instruction], tuple[str, ...]]:
    """The convolutions of the block's module, its instructions counted, and the log of its build."""
    kernels = {"first": normal(16, 16, 1), "depthwise": normal(16, 1, 15, seed=1), "last": normal(16, 16, 1, seed=2)}
    model = saved(parsed(BLOCK, **kernels), folder / "block.onnx")
    options = CompileOptions(target="neuronx", opt_shapes=(("x", (2, 16, 40)),))
    bundle = compile_bundle([ModelFile("block", model)], folder / "b", options).bundle
    (engine,) = bundle.manifest.engines.values()
    report = bundle.report()
    assert engine.status == "hlo-verified"
    assert report is not None
    return list(instructions((folder / "b" / engine.source).read_bytes())), report.log


def test_they_are_sums_over_places_and_the_build_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after, log = compiled(tmp_path / "after")
    monkeypatch.setattr(NeuronxTarget, "late_fusions", ())
    before, _ = compiled(tmp_path / "before")
    grouped = [[found.source for found in every if "feature_group_count" in found.text] for every in (before, after)]
    assert grouped == [["Conv:inner"], []]
    assert "unroll-depthwise: block: convolutions of single channels written as sums: 1" in log
    added = [found.source for found in after if found.opcode == "add"]
    assert added.count("Conv:inner") == 14
    print(f"instructions: {len(before)} before, {len(after)} after")
