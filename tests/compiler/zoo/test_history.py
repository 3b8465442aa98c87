from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import UsageError
from compiler.zoo.history import Figure, difference, find_build, why
from compiler.zoo.ledger import Ledger, Result, State
from compiler.zoo.spec import Thresholds
from tests.compiler.zoo.test_reasons import BASE


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "zoo.sqlite", create=True) as found:
        yield found


def result(job: str, state: State, ingredients: Mapping[str, Any] | None = None) -> Result:
    return Result(job, "a", "t", "fp32", None, (), state, why="", ingredients=ingredients)


def built(ledger: Ledger, jobs: Mapping[str, Mapping[str, float] | State]) -> int:
    """A build: figures of jobs that were made, states of the others."""
    number = ledger.begin("", "", "", 1)
    for job, said in jobs.items():
        state, figures = (said, {}) if isinstance(said, State) else (State.BUILT, said)
        ledger.record(number, result(job, state), figures, None)
    ledger.end(number, "ended", 1.0)
    return number


def compared(ledger: Ledger, before: int, after: int, **thresholds: float) -> Any:
    old, new = find_build(ledger, before), find_build(ledger, after)
    return difference(ledger, old, new, Thresholds(**thresholds))


def test_builds_by_number_and_from_the_last(ledger: Ledger) -> None:
    numbers = [built(ledger, {}) for _ in range(3)]
    assert find_build(ledger, None).id == numbers[2]
    assert find_build(ledger, None, back=1).id == numbers[1]
    assert find_build(ledger, numbers[0]).id == numbers[0]
    for number, back, message in (
        (9, 0, "has no build 9: the last is 3"),
        (None, 3, "has no earlier build: the last is 3"),
    ):
        with pytest.raises(UsageError, match=message):
            find_build(ledger, number, back)


def test_there_is_no_build_yet(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="has no build: there is none yet"):
        find_build(ledger, None)


def test_jobs_that_come_and_go_and_fail(ledger: Ledger) -> None:
    before = built(ledger, {"gone": {}, "breaks": {}, "broken": State.FAILED, "stays": {}})
    after = built(ledger, {"new": {}, "breaks": State.FAILED, "broken": State.FAILED, "stays": {}, "b": State.FAILED})
    found = compared(ledger, before, after)
    assert (found.came, found.went, found.failed) == (("b", "new"), ("gone",), ("b", "breaks"))
    assert (found.before.id, found.after.id) == (before, after)


def test_figures_that_changed_by_job_and_name(ledger: Ledger) -> None:
    before = built(ledger, {"j": {"bytes": 100, "same": 1, "bytes.engines": 5}})
    after = built(ledger, {"j": {"bytes": 90, "same": 1, "operators": 7}})
    assert compared(ledger, before, after).figures == (
        Figure("j", "bytes", 100, 90, is_worse=False),
        Figure("j", "bytes.engines", 5, None, is_worse=False),
        Figure("j", "operators", None, 7, is_worse=False),
    )


def test_a_job_that_was_up_to_date_or_failed_keeps_its_figures(ledger: Ledger) -> None:
    first = built(ledger, {"kept": {"bytes": 1}, "broken": {"bytes": 1}})
    second = built(ledger, {"kept": State.UP_TO_DATE, "broken": State.FAILED})
    third = built(ledger, {"kept": {"bytes": 5}, "broken": {"bytes": 5}})
    assert compared(ledger, first, second).figures == ()
    assert [figure.before for figure in compared(ledger, second, third).figures] == [1, 1]


@pytest.mark.parametrize(
    ("name", "old", "new", "is_worse"),
    [
        ("bytes", 100, 105, False),
        ("bytes", 100, 106, True),
        ("bytes", 100, 10, False),
        ("bytes.weights", 100, 106, True),
        ("bytes", 0, 1, True),
        ("seconds", 10, 15, False),
        ("seconds", 10, 15.1, True),
        ("seconds", 0.1, 1.0, False),  # less than a second
        ("seconds.emit", 10, 100, False),  # a part of it
        ("operators", 100, 106, True),
        ("operators.Cast", 1, 50, False),
        ("numerics.m.y", 0.5, 5.0, False),
        ("numerics.m.y", 0.5, 5.1, True),
        ("numerics.m.y", 0.0, 1e-7, False),  # rounding
        ("numerics.m.y", 0.0, 1e-4, True),
    ],
)
def test_growth_beyond_a_threshold_is_a_regression(
    ledger: Ledger, name: str, old: float, new: float, is_worse: bool
) -> None:
    found = compared(ledger, built(ledger, {"j": {name: old}}), built(ledger, {"j": {name: new}}))
    assert found.regressions == ((Figure("j", name, old, new, is_worse=True),) if is_worse else ())


def test_thresholds_are_the_zoos_to_choose(ledger: Ledger) -> None:
    numbers = [built(ledger, {"j": {"bytes": 100 + n, "numerics.m.y": 0.01 * (n + 1)}}) for n in range(2)]
    assert compared(ledger, *numbers).regressions == ()
    assert len(compared(ledger, *numbers, bytes=0.0, numerics=1.5).regressions) == 2


def test_why_tells_what_had_changed_each_time(ledger: Ledger) -> None:
    other = {**BASE, "unspool": "2"}
    for ingredients in (BASE, None, other, other):
        number = ledger.begin("", "", "", 1)
        state = State.FAILED if ingredients is None else State.BUILT
        ledger.record(number, result("j", state, ingredients), {}, None)
    assert [(build, found.state, changed) for build, found, changed in why(ledger, "j")] == [
        (4, State.BUILT, ()),
        (3, State.BUILT, ("Unspool's own code has changed",)),
        (2, State.FAILED, ()),
        (1, State.BUILT, ()),
    ]


def test_why_of_a_job_that_no_build_knows(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="is a job of no build") as caught:
        next(why(ledger, "j"))
    assert caught.value.problems[0].hint == "build first"
    built(ledger, {"a/t-fp32": {}})
    with pytest.raises(UsageError) as caught:
        next(why(ledger, "j"))
    assert caught.value.problems[0].hint == "the last build has a/t-fp32"
