from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from typing import ClassVar

import pytest

from artifacts.checks import OutputCheck, Tolerances
from passes import pipeline
from passes.contract import Pass, Rewrite
from passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from passes.fold_constants import FoldConstants
from passes.memo import FORGETFUL, Memo
from passes.pipeline import run_passes
from passes.program import Program
from passes.registry import all_passes
from passes.verification import check_program
from tests.support.programs import PROGRAMS

TABLE = Tolerances()


@dataclass
class Makes:
    """Makes another object at each call."""

    calls: int = 0

    def __call__(self) -> object:
        self.calls += 1
        return object()


@dataclass(frozen=True)
class Counted(Pass):
    """A pass that changes nothing, and counts the programs that it was given."""

    name: ClassVar[str] = "counted"
    given: list[Program] = field(default_factory=list, compare=False)

    def rewrite(self, program: Program) -> Rewrite:
        self.given.append(program)
        return FoldConstants().rewrite(program)


def test_a_value_is_made_once_for_each_key() -> None:
    memo, make = Memo(), Makes()
    first = memo.once(("a", 1), make)
    assert memo.once(("a", 1), make) is first
    assert memo.once(("a", 2), make) is not first
    assert make.calls == 2


def test_none_is_a_value() -> None:
    memo, calls = Memo(), list[int]()
    assert memo.once("k", lambda: calls.append(1)) is None
    assert memo.once("k", lambda: calls.append(1)) is None
    assert calls == [1]


def test_what_fails_is_tried_again() -> None:
    memo = Memo()

    def fail() -> object:
        raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        memo.once("k", fail)
    assert memo.once("k", lambda: 3) == 3


def test_programs_that_hold_the_same_are_two() -> None:
    """A program stands for itself: to compare two would take longer than to make one."""
    memo, make, one = Memo(), Makes(), PROGRAMS["shape_arithmetic"]()
    assert memo.once((one,), make) is memo.once((one,), make)
    assert memo.once((replace(one),), make) is not memo.once((one,), make)
    assert make.calls == 2


def test_every_pass_can_be_a_part_of_a_key() -> None:
    for name, step in all_passes().items():
        needs_more = [each.name for each in fields(step) if each.default is each.default_factory is MISSING]
        if not needs_more:
            assert hash(step()) == hash(step()), name


def test_memos_know_nothing_of_each_other() -> None:
    make = Makes()
    assert Memo().once("k", make) is not Memo().once("k", make)


def test_one_that_does_not_keep_makes_everything_anew() -> None:
    make = Makes()
    assert FORGETFUL.once("k", make) is not FORGETFUL.once("k", make)
    assert Memo(keeps=False).once("k", make) is not None
    assert make.calls == 3
    assert FORGETFUL._found == {}


def test_a_pass_that_was_given_a_program_is_not_given_it_again() -> None:
    memo, program, step = Memo(), PROGRAMS["tied_perceptron"](), Counted()
    steps = (step, EliminateCommonSubexpressions())
    first, runs = run_passes(program, steps, TABLE, memo=memo)
    again, same = run_passes(program, steps, TABLE, memo=memo)
    assert (step.given, again is first) == ([program], True)
    assert same == runs, "what is told of a pass is told again"
    other = replace(program)
    run_passes(other, steps, TABLE, memo=memo)
    run_passes(program, steps, TABLE)
    run_passes(program, steps, TABLE)
    assert step.given == [program, other, program, program]


def test_a_comparison_is_made_again_for_other_tolerances(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Tolerances] = []

    def counted(program: Program, tolerances: Tolerances, decodes: bool = True) -> tuple[OutputCheck, ...]:
        compared.append(tolerances)
        return check_program(program, tolerances, decodes)

    monkeypatch.setattr(pipeline, "check_program", counted)
    memo, program = Memo(), PROGRAMS["shape_arithmetic"]()
    wide = Tolerances.of(1.0, 1.0)
    for tolerances in (TABLE, TABLE, wide, wide):
        _, runs = run_passes(program, (FoldConstants(),), tolerances, memo=memo)
        assert runs[0].modified
    assert compared == [TABLE, wide]
