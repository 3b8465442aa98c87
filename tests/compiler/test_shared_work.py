"""Compilations of one model for several targets: what they have in common is done once, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from artifacts.manifest import REPORT_FILE
from compiler.compile import compile_bundle
from compiler.converters.unspool import UnspoolConverter
from compiler.options import CompileOptions, ModelFile
from compiler.source_runner import SourceRunner
from passes.memo import Memo
from tests.support.models import perceptron, saved
from tests.support.stores import tree

TARGETS = ("onnxruntime", "torchscript")


@dataclass
class Calls:
    """How often the parts of a compilation ran that take its time."""

    counts: dict[str, int] = field(default_factory=dict)

    def watch(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counted(*arguments: Any, **more: Any) -> Any:
            self.counts[name] = self.counts.get(name, 0) + 1
            return original(*arguments, **more)

        monkeypatch.setattr(owner, name, counted)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = Calls()
    found.watch(monkeypatch, UnspoolConverter, "convert")
    found.watch(monkeypatch, SourceRunner, "_ask")
    return found


def compiled(model: Path, folder: Path, memo: Memo, targets: Sequence[str] = TARGETS, **options: Any) -> Any:
    """What the bundles of a model hold, but for how they were built, by target."""
    found = {}
    for target in targets:
        bundle = folder / target
        compile_bundle([ModelFile("m", model)], bundle, CompileOptions(target=target, **options), memo=memo)
        found[target] = {path: data for path, data in tree(bundle).items() if path != REPORT_FILE}
    return found


def test_two_targets_have_the_same_bytes_and_one_conversion(tmp_path: Path, calls: Calls) -> None:
    model = saved(perceptron(), tmp_path / "m.onnx")
    apart = compiled(model, tmp_path / "apart", Memo(keeps=False))
    alone, calls.counts = calls.counts, {}
    together = compiled(model, tmp_path / "together", Memo())
    assert together == apart
    assert (alone["convert"], calls.counts["convert"]) == (2, 1)
    assert calls.counts["_ask"] * 2 == alone["_ask"], "the source answers each request once"


def test_other_options_have_a_conversion_of_their_own(tmp_path: Path, calls: Calls) -> None:
    model, memo = saved(perceptron(), tmp_path / "m.onnx"), Memo()
    first = compiled(model, tmp_path / "a", memo, TARGETS[:1])
    compiled(model, tmp_path / "b", memo, TARGETS[:1], opt_shapes=(("x", (5, 16)),))
    assert calls.counts["convert"] == 2
    assert compiled(model, tmp_path / "c", memo, TARGETS[:1], atol=0.5, rtol=0.5) != first, "its tolerances are others"
    assert calls.counts["convert"] == 2


def test_another_model_at_the_same_place_is_another(tmp_path: Path, calls: Calls) -> None:
    model, memo = saved(perceptron(), tmp_path / "m.onnx"), Memo()
    first = compiled(model, tmp_path / "a", memo, TARGETS[:1])
    saved(perceptron(1), model)
    second = compiled(model, tmp_path / "b", memo, TARGETS[:1])
    assert calls.counts["convert"] == 2
    assert second != first
    assert second == compiled(model, tmp_path / "c", Memo(keeps=False), TARGETS[:1])
