"""What a `Decode` schedule means: the scores of each position, whoever runs the loop.

Control decides when engines are called and where decoding may stop, never what a position's scores are, so one
stepper serves every control.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from artifacts.runtime.greedy import Greedy
from artifacts.samples import Arrays
from artifacts.schedule import Decode
from artifacts.spec import TensorSpec
from passes.interpreter import call
from passes.program import Program

Array = npt.NDArray[np.generic]


class Stepper:
    """One request being decoded: `scores(tokens)` for ever longer tokens."""

    def __init__(self, program: Program, schedule: Decode, inputs: Arrays) -> None:
        self.program = program
        self.schedule = schedule
        self.inputs: dict[str, Array] = dict(inputs)
        if schedule.encoder is not None:
            self.inputs |= call(program, schedule.encoder, inputs)
        self.slots: dict[str, Array] = {}

    def scores(self, tokens: npt.NDArray[np.int64]) -> Array:
        """Scores [batch, vocabulary] of the token after `tokens` [batch, t], the start token included.

        A cached state has to see every length from 1 on in turn; the others may skip.
        """
        schedule = self.schedule
        position = tokens.shape[1] - 1
        step = schedule.first if position == 0 and schedule.first is not None else schedule.step
        given = dict(self.inputs)
        row = -1
        if schedule.state == "cached":
            given[schedule.tokens] = tokens[:, -1:]
            given |= self.slots if self.slots else self._first_slots(tokens.shape[0])
        elif schedule.state == "padded":
            missing = schedule.generation.max_new_tokens - tokens.shape[1]
            given[schedule.tokens] = np.pad(tokens, ((0, 0), (0, missing)), constant_values=schedule.generation.pad)
            row = position
        else:
            given[schedule.tokens] = tokens
        if schedule.position is not None:
            given[schedule.position] = np.asarray(position, np.int64)
        results = call(self.program, step, given)
        self.slots = {slot.input: results[slot.output] for slot in schedule.slots}
        logits: Array = results[schedule.logits][:, row]
        return logits

    def _first_slots(self, batch: int) -> dict[str, Array]:
        signature = self.program.functions[self.schedule.step].signature
        found = {}
        for slot in self.schedule.slots:
            kind, _, name = slot.init.partition(":")
            if kind == "encoder":
                found[slot.input] = self.inputs[name]
                continue
            spec = signature.input(slot.input)
            empty = slot.axis if kind == "empty" else None
            found[slot.input] = np.zeros(_sizes(spec, slot.batch_axis, batch, empty), spec.dtype.numpy)
        return found


def _sizes(spec: TensorSpec, batch_axis: int, batch: int, empty_axis: int | None) -> list[int]:
    sizes = []
    for axis, size in enumerate(spec.shape):
        if axis == batch_axis:
            sizes.append(batch)
        elif axis == empty_axis:
            sizes.append(0)
        elif isinstance(size, int):
            sizes.append(size)
        else:
            raise ValueError(f"slot {spec}: axis {axis} is neither batch nor time, and its size is not known")
    return sizes


def positions_to_check(schedule: Decode, length: int) -> tuple[int, ...]:
    """Positions 0, 1, 2, every partition boundary and its neighbours, below `length`."""
    boundaries = getattr(schedule.control, "boundaries", ())
    wanted = {0, 1, 2, length - 1} | {b + d for b in boundaries for d in (-1, 0, 1)}
    return tuple(sorted(p for p in wanted if 0 <= p < length))


def teacher_forced(
    program: Program,
    schedule: Decode,
    inputs: Arrays,
    tokens: npt.NDArray[np.int64],
    positions: Iterable[int],
) -> Array:
    """Scores [batch, positions, vocabulary] when the tokens [batch, t] are given rather than chosen."""
    stepper = Stepper(program, schedule, inputs)
    wanted = sorted(set(positions))
    every = range(wanted[-1] + 1) if schedule.state == "cached" else wanted
    rows = {p: stepper.scores(tokens[:, : p + 1]) for p in every}
    return np.stack([rows[p] for p in wanted], axis=1)


def greedy(program: Program, schedule: Decode, inputs: Arrays, batch: int, limit: int) -> dict[str, Array]:
    """Decode greedily, at most `limit` tokens: `tokens` int64 [batch, n] and `lengths` int64 [batch]."""
    stepper = Stepper(program, schedule, inputs)
    rows = Greedy(schedule.generation, batch)
    while not rows.finished and rows.position < limit:
        rows.append(stepper.scores(rows.fed))
    return rows.result()
