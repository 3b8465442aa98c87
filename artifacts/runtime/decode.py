"""Decoding with the loop on the host: an encoder once, then a step per token, greedily or in beams.

What a step is given depends on the schedule's state: all tokens so far (`recompute`), the same at one fixed
length (`padded`), or the last token and what the step before left in the slots (`cached`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.carriers import widened
from artifacts.decode_inputs import DecodeInputs
from artifacts.engines import Buffer, EngineRunner
from artifacts.errors import BundleError, RunError
from artifacts.runtime.answer import Answer
from artifacts.runtime.feed import STAGE, Feed, Held, step_problems
from artifacts.runtime.selector import Selector, Tokens, selector_for
from artifacts.schedule import Decode
from artifacts.spec import Signature, TensorSpec

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Step:
    """A runner of one position, and the specs of those inputs that differ from position to position."""

    runner: EngineRunner
    tokens: TensorSpec
    position: TensorSpec | None
    slots: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, schedule: Decode, runner: EngineRunner) -> _Step:
        taken = {spec.name: spec for spec in runner.signature.inputs}
        position = None if schedule.position is None else taken.get(schedule.position)
        slots = tuple(taken[slot.input] for slot in schedule.slots if slot.input in taken)
        return cls(runner, taken[schedule.tokens], position, slots)


class HostDecoder:
    """Runs a `Decode(control=host)` schedule."""

    def __init__(self, schedule: Decode, runners: Mapping[str, EngineRunner], source: Signature) -> None:
        """`runners` holds every function of the schedule; `source` is the source model's signature.

        Raises BundleError if functions and schedule do not fit.
        """
        self._schedule = schedule
        last = runners[schedule.step]
        first = last if schedule.first is None else runners[schedule.first]
        encoder = None if schedule.encoder is None else runners[schedule.encoder]
        steps = [runner.signature for runner in (first, last)]
        BundleError.raise_if(step_problems(schedule, steps, None if encoder is None else encoder.signature))
        signatures = {name: runners[name].signature for name in schedule.functions}
        self._feed = Feed(DecodeInputs(schedule, signatures, source), encoder)
        self._step = _Step.of(schedule, last)
        self._first = _Step.of(schedule, first)
        self.signature = self._feed.signature

    def run(self, arrays: Mapping[str, Array]) -> Answer:
        """Decode from checked inputs, greedily or, if the schedule's generation says so, in beams.

        Gives `tokens` int64 [batch, n], start token left out, end token kept, rows filled with pad, and
        `lengths` int64 [batch], end token counted; n is the longest row's length. Beams give `scores` as well.
        """
        generation = self._schedule.generation
        request = self._feed.request(arrays, 1 if generation.beams is None else generation.beams.width)
        runners = dict.fromkeys((self._first.runner, self._step.runner))
        fixed = {runner: self._feed.fixed(runner, request) for runner in runners}
        slots = self._feed.first_slots(self._first.runner, fixed[self._first.runner], request)
        rows = selector_for(generation, request.batch // request.width, drops=self._feed.drops)
        while not rows.finished:
            step = self._first if rows.position == 0 else self._step
            runner = step.runner
            inputs = dict(fixed[runner])
            for spec in step.slots:
                inputs[spec.name] = slots[spec.name].on(runner, spec)
            inputs |= self._step_inputs(step, rows, request.batch)
            outputs = runner.run(inputs)
            rows.append(self._scores(runner, outputs, rows, request.batch))
            slots = {
                slot.input: Held(runner, outputs[slot.output]).in_order(
                    rows.order, slot.batch_axis, runner.signature.output(slot.output)
                )
                for slot in self._schedule.slots
            }
            if rows.order is not None and len(rows.order) < request.batch and not rows.finished:
                request = self._feed.kept(request, rows.order)
                fixed[self._step.runner] = self._feed.fixed(self._step.runner, request)
        return Answer(rows.result(), self._calls(rows.position))

    def _calls(self, positions: int) -> dict[str, int]:
        schedule = self._schedule
        once = dict.fromkeys(filter(None, (schedule.encoder, schedule.first)), 1)
        return {**once, schedule.step: positions - (schedule.first is not None)}

    def _step_inputs(self, step: _Step, rows: Selector, batch: int) -> dict[str, Buffer]:
        spec = step.tokens
        tokens: Tokens = rows.fed
        if self._schedule.state == "cached":
            tokens = tokens[:, -1:]
        elif self._schedule.state == "padded":
            tokens = np.full((batch, self._padded_length), self._schedule.generation.pad, np.int64)
            tokens[:, : rows.position + 1] = rows.fed
        carrier = (spec.carrier or spec.dtype).numpy
        inputs = {spec.name: step.runner.upload(spec, np.array(tokens, carrier, order="C"))}
        if step.position is not None:
            shape = tuple(batch if isinstance(dim, str) else dim for dim in step.position.shape)
            place = np.full(shape, rows.position, step.position.dtype.numpy)
            inputs[step.position.name] = step.runner.upload(step.position, place)
        return inputs

    @property
    def _padded_length(self) -> int:
        """Length of the padded tokens: the engine's own, else the start token and all but the last token."""
        dim = self._step.tokens.shape[1]
        return dim if isinstance(dim, int) else self._schedule.generation.max_new_tokens

    def _scores(self, runner: EngineRunner, outputs: Mapping[str, Buffer], rows: Selector, batch: int) -> Array:
        """The scores of the next token, [batch, vocabulary]."""
        name = self._schedule.logits
        logits = runner.download(outputs[name])
        at = rows.position if self._schedule.state == "padded" else -1
        if logits.ndim != 3 or logits.shape[0] != batch or not -1 <= at < logits.shape[1]:
            message = f"has the shape {logits.shape} at position {rows.position}, expected [{batch}, t, vocabulary]"
            raise RunError.of(STAGE, name, message)
        return widened(logits[:, at], runner.signature.output(name).dtype)
