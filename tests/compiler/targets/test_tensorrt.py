"""TensorRT itself is not here, and neither is a GPU: what its target does then, and what it tells."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from artifacts.errors import TargetError, UsageError
from artifacts.plan_build import BuilderOptions, PlanBuild, Sizes
from compiler.build_log import BuildLog
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile, WeightsName
from compiler.shapes import ShapeRanges
from compiler.targets import find_target
from tests.support.cli import unspool
from tests.support.models import BundleCache

OPTIONS = CompileOptions(
    target="tensorrt",
    min_shapes=(("x", (1, 16)),),
    opt_shapes=(("x", (4, 16)),),
    max_shapes=(("x", (8, 16)),),
    further_ranges=(ShapeRanges(opt=(("x", (64, 16)),)),),
    compute_capabilities=("sm89", "sm90"),
    builder=BuilderOptions(weights="stripped", optimization_level=5, hardware_compatibility="ampere-plus"),
)


@pytest.fixture(scope="module")
def bundle(cache: BundleCache, perceptron_file: Path) -> Path:
    model = ModelFile("perceptron", perceptron_file)
    return cache.get("perceptron-tensorrt", lambda path: compile_bundle([model], path, OPTIONS))


def test_an_engine_stays_a_source_that_says_what_it_needs(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    (engine,) = manifest.engines.values()
    assert (engine.kind, engine.status, engine.plan, engine.runs_on) == ("tensorrt", "emitted", None, ())
    (need,) = engine.needs
    assert "an NVIDIA GPU of compute capability 8.9, 9.0" in need.what
    assert need.command == "unspool emit --from BUNDLE --target tensorrt -o BUNDLE2"
    (verdicts,) = manifest.numerics.verdicts.values()
    assert verdicts[-1].compared == "engine sources"
    assert not any(path.endswith((".plan", ".engine")) for path in manifest.files)


def test_the_bundle_has_all_that_a_builder_is_told(bundle: Path) -> None:
    (engine,) = Bundle.open(bundle).manifest.engines.values()
    assert isinstance(engine.build, PlanBuild)
    assert engine.build.profiles == (
        {"x": Sizes(least=(1, 16), usual=(4, 16), most=(8, 16))},
        {"x": Sizes(least=(64, 16), usual=(64, 16), most=(64, 16))},
    )
    assert engine.build.options == OPTIONS.builder
    assert engine.build.capabilities == ("sm89", "sm90")
    assert engine.weights.default == "stripped"


def test_a_trial_by_another_builder_is_told_as_one(bundle: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    report = Bundle.open(bundle).report()
    assert report is not None
    (notice,) = report.notices
    assert "TensorRT-RTX" in notice
    assert "built 1 of 1 engines as a trial; TensorRT has seen none" in notice


def test_without_any_builder_the_bundle_is_the_same(
    bundle: Path, perceptron_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a proxy says is in the report alone: where it is installed decides nothing."""
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    log = BuildLog(quiet=True)
    compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "b", OPTIONS, log=log)
    assert "nothing here could parse" in log.notices[0]
    assert "unspool[tensorrt-rtx]" in log.notices[0]
    assert (tmp_path / "b" / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()


def test_a_status_that_takes_a_gpu_is_not_to_be_had(perceptron_file: Path, tmp_path: Path) -> None:
    options = CompileOptions(target="tensorrt", opt_shapes=(("x", (4, 16)),), require="built")
    with pytest.raises(TargetError, match="is emitted, and built is required") as caught:
        compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "b", options)
    assert "unspool emit --from" in caught.value.problems[0].hint
    assert not (tmp_path / "b").exists()


def test_it_is_usable_everywhere_and_says_how_far() -> None:
    available = find_target("tensorrt").availability()
    assert (available.usable, available.version) == (True, "")
    assert "pip install tensorrt" in available.hint


def test_a_deployment_of_a_source_is_refused_with_the_command(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = unspool(capsys, "check", bundle, "--on", "nvidia:sm89", "--json")
    assert found.status == 1
    assert "has no plan that could be loaded" in found.error["message"]
    assert "--target tensorrt" in found.error["hint"]


@pytest.mark.parametrize(
    ("target", "changes", "subject"),
    [
        ("onnxruntime", {"builder": BuilderOptions(tf32=True)}, "--tf32"),
        ("onnxruntime", {"further_ranges": (ShapeRanges(),)}, "--min-shapes, --opt-shapes, --max-shapes"),
        ("onnxruntime", {"compute_capabilities": ("sm89",)}, "--compute-capabilities"),
        ("tensorrt-rtx", {"builder": BuilderOptions(version_compatible=True)}, "--version-compatible"),
        ("tensorrt-rtx", {"compute_capabilities": ("sm90",)}, "--compute-capabilities"),
        ("tensorrt", {"weights": WeightsName.MAPPED}, "--weights mapped"),
    ],
)
def test_options_that_mean_nothing_to_a_target_are_refused_before_anything_is_read(
    target: str, changes: dict[str, object], subject: str, tmp_path: Path
) -> None:
    options = CompileOptions(target=target, **changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError) as caught:
        compile_bundle([ModelFile("m", tmp_path / "missing.onnx")], tmp_path / "b", options)
    assert [problem.subject for problem in caught.value.problems] == [subject]
