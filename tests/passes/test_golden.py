"""What each pass makes of small programs, compared with the texts in tests/golden.

A text that ought to change is written anew by

    pytest tests/passes/test_golden.py --update-golden

and its diff is then read and committed with the change that it belongs to.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch

from artifacts.checks import Tolerances
from artifacts.tolerances import Tolerance, compare
from passes.contract import PassResult
from passes.interpreter import call
from passes.program import Program
from passes.registry import all_passes
from passes.text import program_text
from passes.verification import check_program
from tests.support.golden_cases import CASES
from tests.support.programs import normal

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
UNCHANGED = "unchanged\n"

each_case = pytest.mark.parametrize("name", CASES)


@cache
def before(name: str) -> Program:
    return CASES[name].program()


@cache
def result_of(name: str) -> PassResult:
    return CASES[name].step(before(name))


@each_case
def test_the_text_is_the_golden_one(name: str, request: pytest.FixtureRequest) -> None:
    path = GOLDEN / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of(name), encoding="utf-8")
    assert path.exists(), f"no golden text {name}: write it with --update-golden"
    assert text_of(name) == path.read_text(encoding="utf-8"), "if the change is meant, rewrite with --update-golden"


def text_of(name: str) -> str:
    step, result = CASES[name].step, result_of(name)
    after = program_text(result.program) if result.modified else UNCHANGED
    notes = "".join(f"note: {note}\n" for note in result.notes)
    notices = "".join(f"notice: {notice}\n" for notice in result.notices)
    return f"{step.name} {json.dumps(step.options)}\n\n{program_text(before(name))}\n---\n\n{after}{notes}{notices}"


@each_case
def test_the_results_are_those_of_before(name: str) -> None:
    old, new, step = before(name), result_of(name).program, CASES[name].step
    if old.models:
        # Functions may be others than before: what they make together is compared.
        checks = check_program(new, step.loosened(Tolerances())) if result_of(name).modified else ()
        assert [check for check in checks if not check.passed] == []
        return
    for function in old.functions.values():
        sizes = dict.fromkeys(function.signature.symbols, 5)
        inputs = {
            spec.name: normal(*(size if isinstance(size, int) else sizes[size] for size in spec.shape), seed=i)
            for i, spec in enumerate(function.signature.inputs)
        }
        torch.manual_seed(0)
        expected = call(old, function.name, inputs)
        torch.manual_seed(0)
        allowed = step.loosened(Tolerances()).reduced or Tolerance(atol=1e-6, rtol=1e-6)
        for output, value in call(new, function.name, inputs).items():
            comparison = compare(expected[output], value, allowed)
            assert comparison.passed, comparison


@each_case
def test_a_second_run_changes_nothing(name: str) -> None:
    assert not CASES[name].step(result_of(name).program).modified


def test_every_pass_has_a_case_with_nothing_to_do() -> None:
    for name in all_passes():
        assert not result_of(f"{name}/nothing_to_do").modified


def test_every_golden_text_belongs_to_a_case() -> None:
    assert {str(path.relative_to(GOLDEN).with_suffix("")) for path in GOLDEN.rglob("*.txt")} == set(CASES)
