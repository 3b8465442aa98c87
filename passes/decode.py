"""What a `Decode` schedule means: the scores of each position, whoever runs the loop.

Control decides when engines are called and where decoding may stop, never what a position's scores are, so one
stepper serves every control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from artifacts.carriers import widened
from artifacts.runtime.greedy import Greedy
from artifacts.samples import Arrays
from artifacts.schedule import Decode, Draft
from artifacts.spec import Signature
from passes.interpreter import Observer, call
from passes.program import Program

Array = npt.NDArray[np.generic]

Watch = Callable[[str], Observer]
"""What sees the values of a function's nodes, by the function's name."""


class Stepper:
    """One request being decoded: `scores(tokens)` for ever longer tokens."""

    def __init__(self, program: Program, schedule: Decode, inputs: Arrays, watch: Watch | None = None) -> None:
        self.program = program
        self.schedule = schedule
        self.watch = watch
        self.inputs: dict[str, Array] = dict(inputs)
        if schedule.encoder is not None:
            self.inputs |= self.call(schedule.encoder, inputs)
        self.slots: dict[str, Array] = {}

    def scores(self, tokens: npt.NDArray[np.integer]) -> Array:
        """Scores [batch, vocabulary] of the token after `tokens` [batch, t], the start token included.

        A cached state has to see every length from 1 on in turn; the others may skip.
        """
        schedule = self.schedule
        position = tokens.shape[1] - 1
        name = schedule.first if position == 0 and schedule.first is not None else schedule.step
        step = self.program.functions[name].signature
        given = dict(self.inputs)
        tokens = tokens.astype(step.input(schedule.tokens).dtype.numpy)
        row = -1
        if schedule.state == "cached":
            given[schedule.tokens] = tokens[:, -1:]
            given |= self.slots
        elif schedule.state == "padded":
            missing = self._padded_length(step) - tokens.shape[1]
            given[schedule.tokens] = np.pad(tokens, ((0, 0), (0, missing)), constant_values=schedule.generation.pad)
            row = position
        else:
            given[schedule.tokens] = tokens
        if schedule.position is not None:
            given[schedule.position] = np.asarray(position, np.int64)
        if not self.slots:
            given |= self._first_slots(step, given)
        results = self.call(name, given)
        self.slots = {slot.input: results[slot.output] for slot in schedule.slots}
        logits: Array = results[schedule.logits][:, row]
        return logits

    def window(self, draft: Draft, tokens: npt.NDArray[np.integer], position: int) -> Array:
        """Scores [batch, n, vocabulary] after each of the tokens [batch, n], the first of which has this position."""
        schedule, window = self.schedule, self.program.functions[draft.window].signature
        given = {**self.inputs, **self.slots}
        given[schedule.tokens] = tokens.astype(window.input(schedule.tokens).dtype.numpy)
        if schedule.position is not None:
            given[schedule.position] = np.asarray(position, np.int64)
        if not self.slots:
            given |= self._first_slots(window, given)
        results = self.call(draft.window, given)
        self.slots = {slot.input: results[slot.output] for slot in schedule.slots}
        logits: Array = results[schedule.logits]
        return logits

    def call(self, function: str, given: Arrays) -> dict[str, Array]:
        """Call a function of the schedule where it is watched."""
        return call(self.program, function, given, None if self.watch is None else self.watch(function))

    def _padded_length(self, step: Signature) -> int:
        size = step.input(self.schedule.tokens).shape[1]
        return size if isinstance(size, int) else self.schedule.generation.max_new_tokens

    def _first_slots(self, step: Signature, given: Arrays) -> dict[str, Array]:
        """What the first call finds in those slots that it takes."""
        names = {spec.name for spec in step.inputs}
        sizes = {
            symbol: size
            for spec in step.inputs
            if spec.name in given
            for symbol, size in zip(spec.shape, given[spec.name].shape, strict=True)
        }
        found = {}
        for slot in self.schedule.slots:
            if slot.input not in names:
                continue
            kind, _, source = slot.init.partition(":")
            if kind == "encoder":
                found[slot.input] = self.inputs[source]
                continue
            spec = step.input(slot.input)
            shape = [sizes.get(size, size) for size in spec.shape]
            shape[slot.batch_axis] = given[self.schedule.tokens].shape[0]
            if slot.axis is not None and kind == "empty":
                shape[slot.axis] = 0
            unknown = [size for size in shape if isinstance(size, str)]
            if unknown:
                raise ValueError(f"slot {spec}: nothing says how large {unknown} is in the first step")
            found[slot.input] = np.zeros([int(size) for size in shape], spec.dtype.numpy)
        return found


def positions_to_check(schedule: Decode, length: int) -> tuple[int, ...]:
    """Positions 0, 1, 2, every partition boundary and its neighbours, and the last, of `length` given tokens.

    Tokens beyond those that may be fed in a decode are left out.
    """
    limit = min(length, schedule.generation.max_new_tokens)
    boundaries = getattr(schedule.control, "boundaries", ())
    wanted = {0, 1, 2, limit - 1} | {b + d for b in boundaries for d in (-1, 0, 1)}
    return tuple(sorted(p for p in wanted if 0 <= p < limit))


def teacher_forced(
    program: Program,
    schedule: Decode,
    inputs: Arrays,
    tokens: npt.NDArray[np.int64],
    positions: Iterable[int],
    watch: Watch | None = None,
) -> Array:
    """Scores [batch, positions, vocabulary] when the tokens [batch, t] are given rather than chosen."""
    stepper = Stepper(program, schedule, inputs, watch)
    wanted = sorted(set(positions))
    every = range(wanted[-1] + 1) if schedule.state == "cached" else wanted
    rows = {p: stepper.scores(tokens[:, : p + 1]) for p in every}
    return np.stack([rows[p] for p in wanted], axis=1)


def in_windows(
    program: Program, schedule: Decode, draft: Draft, inputs: Arrays, tokens: npt.NDArray[np.int64]
) -> Array:
    """Scores [batch, n, vocabulary] of given tokens [batch, t], by a draft's window after window.

    The last one is filled with pad. n is t, or less if that many windows do not fit into a decode.
    """
    stepper, width = Stepper(program, schedule, inputs), draft.count + 1
    count = min(-(-tokens.shape[1] // width), schedule.generation.max_new_tokens // width)
    filled = np.pad(tokens, ((0, 0), (0, width)), constant_values=schedule.generation.pad)
    found = [stepper.window(draft, filled[:, w * width : (w + 1) * width], w * width) for w in range(count)]
    return np.concatenate(found, axis=1)[:, : tokens.shape[1]]


def every_position(
    program: Program,
    schedule: Decode,
    inputs: Arrays,
    tokens: npt.NDArray[np.int64],
    watch: Watch | None = None,
) -> Array:
    """Scores [batch, t, vocabulary] from one call of a step that takes all tokens [batch, t].

    What a decoder that sees later tokens gives for an earlier position is told by this alone.
    """
    step = program.functions[schedule.step].signature
    stepper = Stepper(program, schedule, inputs, watch)
    given = {**stepper.inputs, schedule.tokens: tokens.astype(step.input(schedule.tokens).dtype.numpy)}
    scores: Array = stepper.call(schedule.step, given)[schedule.logits]
    return scores


def greedy(
    program: Program, schedule: Decode, inputs: Arrays, batch: int, limit: int, watch: Watch | None = None
) -> dict[str, Array]:
    """Decode greedily, at most `limit` tokens: `tokens` int64 [batch, n] and `lengths` int64 [batch]."""
    shortened = schedule.shortened(limit)
    stepper = Stepper(program, shortened, inputs, watch)
    rows = Greedy(shortened.generation, batch)
    dtype = program.functions[schedule.step].signature.output(schedule.logits).dtype
    while not rows.finished:
        rows.append(widened(stepper.scores(rows.fed), dtype))
    return rows.result()
