"""From --weights to how a bundle opens, with the figures that decided."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from artifacts.bundle import Bundle
from artifacts.errors import TargetError
from artifacts.runtime import Session
from compiler import weight_access
from compiler.build_log import BuildLog
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile, Precision, WeightsName
from tests.support.cli import unspool
from tests.support.models import perceptron, saved
from tests.support.programs import normal, parsed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(perceptron(), tmp_path_factory.mktemp("model") / "model.onnx")


def compiled(model: Path, folder: Path, options: CompileOptions) -> tuple[Bundle, BuildLog]:
    log = BuildLog(quiet=True)
    return compile_bundle([ModelFile("m", model)], folder, options, log=log).bundle, log


def defaults(bundle: Bundle) -> set[str]:
    return {engine.weights.default for engine in bundle.manifest.engines.values()}


@pytest.mark.parametrize(("wanted", "default"), [(None, "prepacked"), (WeightsName.MAPPED, "mapped")])
def test_a_bundle_opens_as_it_was_told_to(
    model: Path, tmp_path: Path, wanted: WeightsName | None, default: str
) -> None:
    bundle, log = compiled(model, tmp_path / "b", CompileOptions(weights=wanted))
    assert defaults(bundle) == {default}
    assert not log.weight_costs
    Session.open(bundle.root).close()


@pytest.mark.parametrize(("bound", "default"), [(0.0, "prepacked"), (1e9, "mapped")])
def test_auto_maps_what_is_as_fast_and_says_why(
    model: Path,
    tmp_path: Path,
    bound: float,
    default: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(weight_access, "AT_MOST", bound)
    monkeypatch.setattr("artifacts.weight_costs.SECONDS", 0.01)
    bundle, log = compiled(model, tmp_path / "b", CompileOptions(weights=WeightsName.AUTO))
    assert defaults(bundle) == {default}
    assert any(notice.startswith(f"m: weights {default}; of its own it has ") for notice in log.notices)
    report = bundle.report()
    assert report is not None
    assert [cost.way for cost in report.weight_costs] == ["mapped", "prepacked"]
    assert all(cost.milliseconds > 0 and cost.model == "m" for cost in report.weight_costs)
    shown = unspool(capsys, "inspect", bundle.root).stdout
    assert "Weights in memory" in shown
    assert f"{default} (or cached, " in shown


def blocks(folder: Path) -> Path:
    text = "g (float[n, 128] x) => (float[n, 128] y) { y = MatMul (x, w) }"
    model: onnx.ModelProto = parsed(text, w=normal(128, 128, seed=1) / 11)
    return saved(model, folder / "blocks.onnx")


def test_what_is_never_read_unpacked_is_not_mapped(tmp_path: Path) -> None:
    model, options = blocks(tmp_path), CompileOptions(precision=Precision.INT4_WEIGHT, tolerance=1.0)
    bundle, log = compiled(model, tmp_path / "a", replace(options, weights=WeightsName.AUTO))
    assert defaults(bundle) == {"prepacked"}
    assert any("not all of its engines can map them" in notice for notice in log.notices)
    assert {way for engine in bundle.manifest.engines.values() for way in engine.weights.ways} == {
        "prepacked",
        "cached",
    }
    with pytest.raises(TargetError, match="cannot run with mapped weights"):
        compiled(model, tmp_path / "b", replace(options, weights=WeightsName.MAPPED))
    assert not (tmp_path / "b").exists()
