from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.errors import UsageError
from compiler.options import ScheduleName
from compiler.tuning.choose import TAIL, Form, Objective, best_boundaries, choices, cost_of, equal_parts, predicted
from compiler.tuning.costs import Costs, StepCost, read_costs
from compiler.tuning.lengths import Lengths

LIMIT = 9
STEPS = st.builds(
    StepCost, call=st.sampled_from([0, 0.5, 3, 50]), step=st.sampled_from([0.1, 1, 4]), growth=st.sampled_from([0, 0.2])
)
LENGTHS = st.dictionaries(st.integers(1, LIMIT), st.integers(1, 9), min_size=1).map(Lengths.of)


def partitioned(*boundaries: int) -> Form:
    return Form(ScheduleName.PARTITIONED, boundaries)


def every_cut(most: int) -> list[tuple[int, ...]]:
    inner = range(1, LIMIT)
    return [(*cut, LIMIT) for count in range(most) for cut in itertools.combinations(inner, count)]


@settings(max_examples=150)
@given(STEPS, LENGTHS, st.integers(1, 5))
def test_no_boundaries_have_a_lower_mean(step: StepCost, lengths: Lengths, most: int) -> None:
    costs = Costs(encoder=2, partition=step)
    found = best_boundaries(step, lengths, LIMIT, Objective.MEAN, most)
    assert len(found) <= most
    least = min(predicted(costs, partitioned(*cut), lengths, LIMIT).mean for cut in every_cut(most))
    assert predicted(costs, partitioned(*found), lengths, LIMIT).mean == pytest.approx(least)


@settings(max_examples=150)
@given(STEPS.filter(lambda step: step.call > 0), LENGTHS, st.integers(2, 5))
def test_no_boundaries_have_a_lower_tail(step: StepCost, lengths: Lengths, most: int) -> None:
    costs = Costs(partition=step)
    found = predicted(costs, partitioned(*best_boundaries(step, lengths, LIMIT, Objective.P95, most)), lengths, LIMIT)
    every = [predicted(costs, partitioned(*cut), lengths, LIMIT) for cut in every_cut(most)]
    assert found.p95 == pytest.approx(min(choice.p95 for choice in every))
    tails = [choice.mean for choice in every if choice.p95 <= found.p95 + 1e-9]
    assert found.mean == pytest.approx(min(tails))


@given(STEPS, LENGTHS)
def test_the_mean_of_a_form_is_that_of_its_requests(step: StepCost, lengths: Lengths) -> None:
    costs = Costs(encoder=1, loop=step, engine_loop=step, partition=step)
    for choice in choices(costs, lengths, LIMIT, Objective.MEAN, 4):
        each = [cost_of(costs, choice.form, n, LIMIT) for n in range(1, lengths.longest + 1)]
        mean = sum(p * cost for p, cost in zip(lengths.probabilities[1:], each, strict=True))
        assert choice.mean == pytest.approx(mean)
        assert choice.p95 == pytest.approx(each[lengths.quantile(TAIL) - 1])
        assert each == sorted(each)


def test_costs_are_those_of_calls_and_steps() -> None:
    costs = Costs(
        encoder=100,
        loop=StepCost(call=10, step=1),
        engine_loop=StepCost(call=7, step=1, growth=2),
        partition=StepCost(call=5, step=3),
    )
    assert cost_of(costs, Form(ScheduleName.LOOP), 4, 12) == 100 + 4 * 11
    assert cost_of(costs, Form(ScheduleName.ENGINE_LOOP), 4, 12) == 100 + 7 + 4 + 2 * (0 + 1 + 2 + 3)
    assert cost_of(costs, Form(ScheduleName.UNROLLED), 4, 12) == 100 + 5 + 36
    assert [cost_of(costs, partitioned(4, 8, 12), n, 12) for n in (1, 4, 5, 12)] == [117, 117, 134, 151]


def test_a_loop_in_an_engine_wins_where_calls_cost_little() -> None:
    step = StepCost(call=0.02, step=0.1)
    found = choices(Costs(loop=step, engine_loop=step, partition=step), Lengths.of({5: 1}), 75, Objective.MEAN, 8)
    assert found[0].form == Form(ScheduleName.ENGINE_LOOP)


def test_partitions_win_where_calls_are_dear_and_engines_cannot_loop() -> None:
    costs = Costs(encoder=5, loop=StepCost(call=3, step=0.4), partition=StepCost(call=2, step=0.4))
    lengths = Lengths.of({6: 50, 20: 10, 60: 2})
    best, *others = choices(costs, lengths, 75, Objective.MEAN, 8)
    assert best.form == partitioned(6, 20, 60, 75)
    assert {other.form for other in others} >= {partitioned(*equal_parts(75, 3)), Form(ScheduleName.LOOP)}
    assert all(best.mean < other.mean for other in others)


def test_fewer_engines_win_where_the_costs_are_equal() -> None:
    costs = Costs(partition=StepCost(call=0, step=1))
    lengths = Lengths.of({9: 1})
    assert choices(costs, lengths, 9, Objective.MEAN, 8)[0].form.boundaries in {(), (9,)}


def test_a_form_without_costs_is_not_predicted() -> None:
    with pytest.raises(ValueError, match="engine-loop"):
        cost_of(Costs(), Form(ScheduleName.ENGINE_LOOP), 1, 9)


def test_costs_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text('{"encoder": 1.5, "partition": {"call": 2, "step": 0.25, "growth": 0.5}}')
    assert read_costs(path) == Costs(encoder=1.5, partition=StepCost(call=2, step=0.25, growth=0.5))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "JSON"),
        ('{"partition": {"call": -1, "step": 1}}', "partition.call"),
        ('{"partition": {"call": 1}, "loops": 3}', "partition.step"),
        ('{"encoder": NaN}', "encoder"),
    ],
)
def test_costs_that_are_none_are_refused_with_every_fault(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "costs.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=word):
        read_costs(path)
