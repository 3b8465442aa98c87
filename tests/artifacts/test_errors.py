from __future__ import annotations

import pickle  # noqa: TID251 - the zoo's workers send errors between processes, which pickles them
from dataclasses import replace

import pytest

from artifacts import errors
from artifacts.errors import BundleError, Problem, RunError, UnspoolError, UsageError

FIRST = Problem("convert", "node a", "unknown operator X", "register it")
SECOND = Problem("convert", "node b", "unknown operator Y")


def test_a_problem_prints_stage_subject_message_and_hint() -> None:
    assert str(FIRST) == "convert: node a: unknown operator X\n  hint: register it"
    assert str(SECOND) == "convert: node b: unknown operator Y"


HINTED = replace(SECOND, hint=BundleError.hint)


def test_a_problem_without_a_hint_gets_that_of_its_kind() -> None:
    assert BundleError(FIRST, SECOND).problems == (FIRST, HINTED)
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UnspoolError)]
    assert all(kind(SECOND).problems[0].hint for kind in kinds)


def test_an_error_prints_all_its_problems() -> None:
    assert str(BundleError(FIRST, SECOND)) == f"{FIRST}\n{HINTED}"


def test_an_error_without_a_problem_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="at least one"):
        BundleError()


def test_of_makes_an_error_of_the_class_it_is_called_on() -> None:
    error = RunError.of("run", "x", "is missing")
    assert type(error) is RunError
    assert error.problems == (Problem("run", "x", "is missing", RunError.hint),)


def test_raise_if_raises_everything_at_once_and_each_problem_once() -> None:
    with pytest.raises(BundleError) as caught:
        BundleError.raise_if(iter([FIRST, SECOND, FIRST]))
    assert caught.value.problems == (FIRST, HINTED)


def test_raise_if_does_nothing_without_problems() -> None:
    BundleError.raise_if([])


def test_an_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(BundleError(FIRST, SECOND)))  # noqa: S301 - our own bytes
    assert type(error) is BundleError
    assert error.problems == (FIRST, HINTED)


def test_a_wrong_call_exits_with_2_and_everything_else_with_1() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UnspoolError)]
    assert {kind for kind in kinds if kind.exit_code == 2} == {UsageError}
    assert {kind.exit_code for kind in kinds} == {1, 2}


def test_the_tree_in_the_docstring_names_every_error() -> None:
    drawn = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, UnspoolError):
            assert name in drawn
