"""Choose a schedule and its boundaries for lengths and costs that are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from compiler.options import ScheduleName
from compiler.tuning.costs import Costs, StepCost
from compiler.tuning.cuts import cheapest_cuts
from compiler.tuning.lengths import Lengths

TAIL = 0.95


class Objective(StrEnum):
    """What is to be least: the mean over all requests, or what 95 % of them do not exceed and then the mean."""

    MEAN = "mean"
    P95 = "p95"


@dataclass(frozen=True)
class Form:
    """A way to decode: a schedule, and where its partitions end if it has any."""

    schedule: ScheduleName
    boundaries: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.schedule} {','.join(map(str, self.boundaries))}".rstrip()


@dataclass(frozen=True)
class Choice:
    """A form with what it is predicted to cost: on average, and at the tail."""

    form: Form
    mean: float
    p95: float


def _step_cost(costs: Costs, form: Form) -> StepCost:
    found = {ScheduleName.LOOP: costs.loop, ScheduleName.ENGINE_LOOP: costs.engine_loop}.get(
        form.schedule, costs.partition
    )
    if found is None:
        raise ValueError(f"the costs do not tell what {form.schedule} costs")
    return found


def cost_of(costs: Costs, form: Form, length: int, limit: int) -> float:
    """What a request of this length costs. Raises ValueError if the costs do not tell."""
    step = _step_cost(costs, form)
    if form.schedule == ScheduleName.LOOP:
        return costs.encoder + length * step.call + step.until(length)
    if form.schedule == ScheduleName.ENGINE_LOOP:
        return costs.encoder + step.call + step.until(length)
    boundaries = form.boundaries or (limit,)
    calls = 1 + sum(boundary < length for boundary in boundaries[:-1])
    return costs.encoder + calls * step.call + step.until(boundaries[calls - 1])


def predicted(costs: Costs, form: Form, lengths: Lengths, limit: int) -> Choice:
    """The form with its costs over all lengths."""
    each = [cost_of(costs, form, n, limit) if p else 0.0 for n, p in enumerate(lengths.probabilities)]
    mean = float(np.dot(each, lengths.probabilities))
    return Choice(form, mean, cost_of(costs, form, lengths.quantile(TAIL), limit))


def choices(costs: Costs, lengths: Lengths, limit: int, objective: Objective, most: int) -> tuple[Choice, ...]:
    """Every form that the costs tell of, the best first; partitions with their best boundaries, at most `most`.

    Of forms that cost the same the one that needs fewer engines comes first.
    """
    found = [predicted(costs, form, lengths, limit) for form in _forms(costs, lengths, limit, objective, most)]
    return tuple(sorted(found, key=lambda choice: _order(choice, objective)))


def _order(choice: Choice, objective: Objective) -> tuple[float, ...]:
    goals = (choice.mean, choice.p95) if objective == Objective.MEAN else (choice.p95, choice.mean)
    return (*goals, len(choice.form.boundaries))


def _forms(costs: Costs, lengths: Lengths, limit: int, objective: Objective, most: int) -> Iterator[Form]:
    if costs.engine_loop is not None:
        yield Form(ScheduleName.ENGINE_LOOP)
    if costs.loop is not None:
        yield Form(ScheduleName.LOOP)
    if costs.partition is not None:
        yield Form(ScheduleName.UNROLLED)
        yield Form(ScheduleName.PARTITIONED, equal_parts(limit, min(3, limit)))
        yield Form(ScheduleName.PARTITIONED, best_boundaries(costs.partition, lengths, limit, objective, most))


def equal_parts(limit: int, parts: int) -> tuple[int, ...]:
    """Boundaries at equal distances."""
    return tuple(-(-limit * part // parts) for part in range(1, parts + 1))


def best_boundaries(step: StepCost, lengths: Lengths, limit: int, objective: Objective, most: int) -> tuple[int, ...]:
    """Boundaries, at most `most` and the last at `limit`, of the least expected cost.

    A partition from a to b is run by those that exceed a, and costs a call and the steps between: a dynamic program
    over b and the number of partitions. For the tail there is no boundary before the length that 95 % do not exceed,
    because each would add a call, and one there.
    """
    return _boundaries_after(0, step, lengths, limit, objective, most)


def curves(costs: Costs, lengths: Lengths, limit: int, objective: Objective) -> tuple[tuple[Choice, ...], ...]:
    """What at most two, and at most three partitions cost, by where the first of them ends: at 1, 2, ... and `limit`.

    Of three the second ends where it is best. Empty if the costs tell nothing of partitions.
    """
    step = costs.partition
    if step is None:
        return ()

    def choice(first: int, most: int) -> Choice:
        after = () if first == limit else _boundaries_after(first, step, lengths, limit, objective, most - 1)
        return predicted(costs, Form(ScheduleName.PARTITIONED, (first, *after)), lengths, limit)

    return tuple(tuple(choice(first, most) for first in range(1, limit + 1)) for most in (2, 3))


def _boundaries_after(
    begin: int, step: StepCost, lengths: Lengths, limit: int, objective: Objective, most: int
) -> tuple[int, ...]:
    tail = min(lengths.quantile(TAIL), limit)
    if objective == Objective.MEAN or begin >= tail:
        return _cheapest(step, lengths, begin, limit, most)
    if tail == limit or most == 1:
        return (limit,)
    return (tail, *_cheapest(step, lengths, tail, limit, most - 1))


def _cheapest(step: StepCost, lengths: Lengths, begin: int, limit: int, most: int) -> tuple[int, ...]:
    """The boundaries after `begin`, which is before `limit`."""
    steps, reach = step.every(limit), lengths.exceeding(limit)
    # What the partition from a to b costs, by those that reach it.
    return cheapest_cuts(reach[:, None] * (step.call + steps[None, :] - steps[:, None]), begin, most)
