"""From --precision to a bundle, and from a tolerance to the layers that keep float32."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from artifacts.bundle import Bundle
from artifacts.checks import Tolerances
from artifacts.dtype import DType
from artifacts.runtime import Session
from compiler.build_log import BuildLog
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile, Precision
from compiler.precision import fitted, precision_pass
from compiler.targets import Target, find_target
from passes.codes import CodesName
from passes.program import Program
from passes.quantize_static import QuantizeStatic
from passes.quantize_weights import QuantizeWeights
from passes.verification import check_program
from tests.support.cli import unspool
from tests.support.models import Array, saved, source_outputs
from tests.support.programs import normal, parsed, program_of

STEP = QuantizeWeights(least=16)
CPU, RTX = find_target("onnxruntime"), find_target("tensorrt-rtx")
REDUCED = (Precision.INT8, Precision.INT8_WEIGHT, Precision.INT4_WEIGHT)

_LAYERS = """
g (float[n, 128] x) => (float[n, 96] y) {
    a = MatMul (x, first)
    b = Relu (a)
    c = MatMul (b, second)
    d = Relu (c)
    y = MatMul (d, third)
}
"""


def layered(bad: tuple[int, ...] = (), **weights: Array) -> onnx.ModelProto:
    """Three layers. Of the bad ones every other input is never anything but 0, and its weights dwarf all others."""
    matrices = [normal(128, 128, seed=1) / 11, normal(128, 128, seed=2) / 11, normal(128, 96, seed=3) / 11]
    for number in bad:
        matrices[number - 1][:, ::2] = 0
        matrices[number][::2] *= 1e4
    named = dict(zip(("first", "second", "third"), matrices, strict=True))
    return parsed(_LAYERS, **named | weights)


@cache
def program(*bad: int) -> Program:
    return program_of(layered(bad), [{"x": normal(n, 128, seed=n)} for n in (3, 1)])


@cache
def saved_layers(folder: Path) -> Path:
    return saved(layered(), folder / "layers.onnx")


@pytest.mark.parametrize(("bad", "kept"), [((), 0), ((1,), 1), ((2,), 1), ((1, 2), 2)])
def test_the_fewest_layers_that_meet_the_tolerance_are_kept(bad: tuple[int, ...], kept: int) -> None:
    found = fitted(program(*bad), STEP, 0.02)
    names = STEP.candidates(program(*bad))
    assert found.step.keep == tuple(names[number] for number in bad)
    assert [layer.kept for layer in found.layers] == [True] * kept + [False] * (3 - kept)
    errors = [layer.error or 0 for layer in found.layers]
    assert errors == sorted(errors, reverse=True)
    quantized = found.step(program(*bad))
    assert quantized.modified
    assert all(c.passed for c in check_program(quantized.program, replace(found.step, at_most=0.02).loosened(TABLE)))


TABLE = Tolerances()


@pytest.mark.parametrize(
    ("target", "precision", "codes"),
    [(CPU, Precision.INT8, "uint8"), (RTX, Precision.INT8, "int8"), (RTX, Precision.FP8, "float8_e4m3fn")],
)
def test_codes_are_those_that_the_runtime_takes(
    target: Target, precision: Precision, codes: CodesName, tmp_path: Path
) -> None:
    options = CompileOptions(precision=precision, calibration=tmp_path)
    assert precision_pass(program(), options, target, BuildLog(quiet=True)) == QuantizeStatic(codes=codes)


def test_auto_keeps_layers_in_float32_beside_the_codes_of_the_target(tmp_path: Path) -> None:
    options = CompileOptions(precision=Precision.AUTO, tolerance=0.02, calibration=tmp_path)
    step = precision_pass(program(2), options, RTX, BuildLog(quiet=True))
    assert isinstance(step, QuantizeStatic)
    assert (step.codes, len(step.keep)) == ("int8", 1)
    assert all(c.passed for c in check_program(step(program(2)).program, step.loosened(TABLE)))


def test_nothing_is_quantised_if_nothing_may_move() -> None:
    found = fitted(program(), STEP, 0.0)
    assert found.step.keep == STEP.candidates(program())


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.AUTO])
def test_float32_is_the_default_and_needs_no_pass(precision: Precision) -> None:
    assert precision_pass(program(), CompileOptions(precision=precision), CPU, BuildLog(quiet=True)) is None


@pytest.mark.parametrize("precision", REDUCED)
def test_a_tolerance_that_is_given_goes_before_that_of_the_pass(precision: Precision) -> None:
    for tolerance, scale in ((None, None), (0.125, 0.125)):
        options = CompileOptions(precision=precision, tolerance=tolerance)
        step = precision_pass(program(), options, CPU, BuildLog(quiet=True))
        assert step is not None
        reduced = step.loosened(TABLE).reduced
        assert reduced is not None
        assert reduced.scale == (step.tolerance.scale if scale is None else scale)


@pytest.mark.parametrize("precision", REDUCED)
def test_a_bundle_of_fewer_bits_is_smaller_and_holds_to_the_source(precision: Precision, tmp_path: Path) -> None:
    model = saved_layers(tmp_path)
    made = compile_bundle([ModelFile("layers", model)], tmp_path / "out", CompileOptions(precision=precision))
    manifest = Bundle.open(tmp_path / "out").manifest
    (step,) = (entry for entry in manifest.passes if entry.name == "quantize-weights")
    bits = step.options["bits"]
    assert isinstance(bits, int)
    assert made.report.weights is not None
    stored = (128 * 128 * 2 + 128 * 96) * bits // 8
    assert stored < made.report.weights.unique_bytes < stored * 1.3, "codes, and scales beside them"
    assert not manifest.numerics.exact_tokens
    x = normal(5, 128, seed=9)
    expected = source_outputs(model, {"x": x})["y"]
    with Session.open(tmp_path / "out") as session:
        found = session.run({"x": x})["y"]
        alone = np.concatenate([session.run({"x": row[None]})["y"] for row in x])
    off = np.abs(found - expected).max() / np.abs(expected).max()
    assert 0 < off < {8: 0.02, 4: 0.2}[bits]
    np.testing.assert_allclose(alone, found, rtol=1e-4, atol=1e-4)


def test_auto_tells_what_stays_in_float32(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = saved(layered((2,)), tmp_path / "layers.onnx")
    out = tmp_path / "out"
    found = unspool(capsys, "compile", model, "-o", out, "--precision", "auto", "--tolerance", "0.02", "--json")
    report = found.document["report"]
    assert [layer["kept"] for layer in report["sensitivity"]] == [True, False, False]
    (note,) = (note for note in report["notices"] if "8 bits" in note)
    assert "2 of 3 layers" in note
    assert report["sensitivity"][0]["layer"] in note
    assert Bundle.open(out).manifest.numerics.tolerances[DType.FLOAT32].scale == 0.02


def test_verify_goes_by_what_the_bundle_was_made_with(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = saved_layers(tmp_path)
    compile_bundle([ModelFile("layers", model)], tmp_path / "out", CompileOptions(precision=Precision.INT8))
    assert unspool(capsys, "verify", tmp_path / "out").status == 0
    assert unspool(capsys, "verify", tmp_path / "out", "--against", model).status == 0
    assert unspool(capsys, "verify", tmp_path / "out", "--rtol", "1e-6").status == 1


def test_a_pass_that_moves_an_output_too_far_is_named_with_the_node(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = saved(layered((2,)), tmp_path / "layers.onnx")
    found = unspool(capsys, "compile", model, "-o", tmp_path / "out", "--precision", "int8", "--json")
    assert found.status == 1
    message = found.document["errors"][0]["message"]
    assert "pass 'quantize-weights'" in message
    assert "first moved in function 'layers' at node 'matmul_2' (source node 'MatMul:y')" in message
    assert not (tmp_path / "out").exists()


def test_a_tolerance_without_fewer_bits_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ("--precision", "fp32", "--tolerance", "0.1", "--json")
    found = unspool(capsys, "compile", saved_layers(tmp_path), "-o", tmp_path / "out", *flags)
    assert found.status == 2
    assert found.error["subject"] == "--tolerance 0.1"
