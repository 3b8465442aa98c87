from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifacts.engines import engine_kinds
from artifacts.errors import TargetError, UsageError
from artifacts.neuron_options import NeuronOptions
from artifacts.plan_build import BuilderOptions
from compiler import targets
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile, Precision, ScheduleName
from compiler.targets import Target, all_targets, find_target
from compiler.targets.target import PlanMaker
from tests.support.cli import unspool

DOUBLE = """
from dataclasses import dataclass
from typing import ClassVar

from compiler.options import Precision
from compiler.targets.onnxruntime import OnnxRuntimeTarget
from compiler.targets.target import Availability


@dataclass(frozen=True)
class Paper(OnnxRuntimeTarget):
    name: ClassVar[str] = "paper"
    summary: ClassVar[str] = "pencil and paper"
    precisions: ClassVar[tuple[Precision, ...]] = (Precision.FP16, Precision.INT8)
    fusions: ClassVar[tuple[str, ...]] = ()
    late_fusions: ClassVar[tuple[str, ...]] = ()

    def availability(self) -> Availability:
        return Availability(False, hint="buy a pencil")


TARGET = Paper()
"""


BUILT_ONLY = {"neuron", "neuronx"}
"""Kinds of engines that no runner opens yet: their sources are proven, and they are never verified."""


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """A target that is one more module of the package, and is not usable here."""
    (tmp_path / "paper.py").write_text(DOUBLE)
    monkeypatch.setattr(targets, "__path__", [*targets.__path__, str(tmp_path)])
    all_targets.cache_clear()
    yield all_targets()["paper"]
    monkeypatch.undo()
    all_targets.cache_clear()
    sys.modules.pop("compiler.targets.paper")
    delattr(targets, "paper")


@pytest.mark.parametrize("name", all_targets())
def test_a_target_keeps_its_contract(name: str) -> None:
    target = all_targets()[name]
    assert target.name == name
    assert target.kind in {*engine_kinds(), *BUILT_ONLY}
    assert target.summary
    assert target.precisions
    assert Precision.AUTO not in target.precisions
    assert len(set(target.decodes)) == len(target.decodes)
    assert not {ScheduleName.AUTO, ScheduleName.SINGLE} & {control for _, control in target.decodes}
    available = target.availability()
    assert available.version or available.hint
    assert set(target.builder_options) <= set(BuilderOptions.model_fields)
    assert set(target.neuron_options) <= set(NeuronOptions.model_fields)
    assert isinstance(target, PlanMaker) == bool(target.builder_options or target.neuron_options)
    assert all(target.tools().values())


def test_names_are_sorted_and_the_default_is_among_them() -> None:
    assert list(all_targets()) == sorted(all_targets())
    assert CompileOptions().target in all_targets()


def test_an_unknown_target_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        find_target("onnxrt")
    (problem,) = caught.value.problems
    assert "'onnxrt'" in problem.message
    assert "onnxruntime" in problem.hint


def test_a_target_is_one_module(paper: Target, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_target("paper") is paper
    listed = unspool(capsys, "targets", "--json").document["targets"]
    assert list(listed) == sorted(listed)
    assert listed["paper"]["usable"] is False
    assert listed["paper"]["hint"] == "buy a pencil"
    assert listed["paper"]["precisions"] == ["fp16", "int8"]


def test_a_target_that_is_not_usable_here_says_what_it_needs(
    paper: Target, perceptron_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(TargetError) as caught:
        compile_bundle([ModelFile("m", perceptron_file)], tmp_path / "out", CompileOptions(target="paper"))
    (problem,) = caught.value.problems
    assert (problem.subject, problem.hint) == ("paper", "buy a pencil")
    assert not (tmp_path / "out").exists()


def test_a_precision_that_it_cannot_do_is_answered_with_those_it_can(
    paper: Target, perceptron_file: Path, tmp_path: Path
) -> None:
    options = CompileOptions(target="paper", precision=Precision.FP32)
    with pytest.raises(UsageError) as caught:
        compile_bundle([ModelFile("m", perceptron_file)], tmp_path / "out", options)
    (problem,) = caught.value.problems
    assert problem.subject == "--precision fp32"
    assert problem.hint == "it can do: fp16, int8"
