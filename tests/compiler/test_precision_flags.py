from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.errors import UsageError
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile, Precision
from compiler.precision_flags import precision_problems
from compiler.targets import find_target

CPU, RTX = find_target("onnxruntime"), find_target("tensorrt-rtx")
REQUESTS = Path("requests")


def told(**changes: object) -> list[str]:
    options = CompileOptions(target="tensorrt-rtx", **changes)  # type: ignore[arg-type]
    return [f"{problem.subject}: {problem.message}" for problem in precision_problems(options, RTX)]


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP8])
def test_fixed_scales_need_requests_to_find_them_from(precision: Precision) -> None:
    gpus = ("sm89",)
    (problem,) = told(precision=precision, compute_capabilities=gpus)
    assert problem.startswith(
        f"--precision {precision}: needs --calibration: what target tensorrt-rtx runs has no scal"
    )
    assert not told(precision=precision, compute_capabilities=gpus, calibration=REQUESTS)
    assert not list(precision_problems(CompileOptions(precision=Precision.INT8), CPU))


def test_so_does_a_search_for_the_layers_that_keep_float32() -> None:
    (problem,) = told(tolerance=0.01)
    assert problem.startswith("--precision auto --tolerance 0.01: needs --calibration")
    assert not told(tolerance=0.01, calibration=REQUESTS)
    assert not told()


@pytest.mark.parametrize(
    ("precision", "gpus", "lacking"),
    [
        (Precision.FP8, ("sm86", "sm89"), "float8_e4m3fn, which GPUs of compute capability 8.6 cannot"),
        (Precision.FP8, (), "float8_e4m3fn, which GPUs of compute capability 8.0, 8.6 cannot"),
        (Precision.BF16, ("sm75", "sm120"), "bfloat16, which GPUs of compute capability 7.5 cannot"),
    ],
)
def test_gpus_that_lack_the_type_are_named(precision: Precision, gpus: tuple[str, ...], lacking: str) -> None:
    calibration = REQUESTS if precision is Precision.FP8 else None
    found = told(precision=precision, compute_capabilities=gpus, calibration=calibration)
    assert found == [f"--precision {precision}: computes in {lacking}"]


def test_gpus_that_have_it_are_not() -> None:
    assert not told(precision=Precision.FP8, compute_capabilities=("sm89", "sm120"), calibration=REQUESTS)
    assert not told(precision=Precision.BF16)


def test_ranges_that_nothing_uses_are_refused() -> None:
    (problem,) = told(precision=Precision.BF16, calibration=REQUESTS)
    assert problem == "--calibration requests: finds ranges that --precision bf16 has no use for"


def test_it_is_told_before_anything_is_read(tmp_path: Path) -> None:
    missing = ModelFile("m", tmp_path / "missing.onnx")
    options = CompileOptions(precision=Precision.FP8, target="tensorrt-rtx", compute_capabilities=("sm86",))
    with pytest.raises(UsageError) as caught:
        compile_bundle([missing], tmp_path / "out", options)
    assert [problem.subject for problem in caught.value.problems] == ["--precision fp8"] * 2


def test_a_target_that_has_no_float8_says_what_it_can_do() -> None:
    (problem,) = precision_problems(CompileOptions(precision=Precision.FP8, calibration=REQUESTS), CPU)
    assert problem.message == "target onnxruntime cannot do it"
