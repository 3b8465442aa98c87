"""Decoding with the loop on the host: an encoder once, then a step per token, greedily or in beams.

What a step is given depends on the schedule's state: all tokens so far (`recompute`), the same at one fixed
length (`padded`), or the last token and what the step before left in the slots (`cached`).
"""

from __future__ import annotations

from collections.abc import Mapping
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
from artifacts.spec import Signature

Array = npt.NDArray[Any]


class HostDecoder:
    """Runs a `Decode(control=host)` schedule."""

    def __init__(self, schedule: Decode, runners: Mapping[str, EngineRunner], source: Signature) -> None:
        """`runners` holds every function of the schedule; `source` is the source model's signature.

        Raises BundleError if functions and schedule do not fit.
        """
        self._schedule = schedule
        self._step = runners[schedule.step]
        self._first = self._step if schedule.first is None else runners[schedule.first]
        encoder = None if schedule.encoder is None else runners[schedule.encoder]
        steps = [runner.signature for runner in (self._first, self._step)]
        BundleError.raise_if(step_problems(schedule, steps, None if encoder is None else encoder.signature))
        signatures = {name: runners[name].signature for name in schedule.functions}
        self._feed = Feed(DecodeInputs(schedule, signatures, source), encoder)
        self.signature = self._feed.signature

    def run(self, arrays: Mapping[str, Array]) -> Answer:
        """Decode from checked inputs, greedily or, if the schedule's generation says so, in beams.

        Gives `tokens` int64 [batch, n], start token left out, end token kept, rows filled with pad, and
        `lengths` int64 [batch], end token counted; n is the longest row's length. Beams give `scores` as well.
        """
        generation = self._schedule.generation
        request = self._feed.request(arrays, 1 if generation.beams is None else generation.beams.width)
        runners = dict.fromkeys((self._first, self._step))
        fixed = {runner: self._feed.fixed(runner, request) for runner in runners}
        slots = self._feed.first_slots(self._first, fixed[self._first], request)
        rows = selector_for(generation, request.batch // request.width)
        while not rows.finished:
            runner = self._first if rows.position == 0 else self._step
            inputs = dict(fixed[runner])
            for slot in self._feed.slots_of(runner):
                inputs[slot.input] = slots[slot.input].on(runner, runner.signature.input(slot.input))
            inputs |= self._step_inputs(runner, rows, request.batch)
            outputs = runner.run(inputs)
            rows.append(self._scores(runner, outputs, rows, request.batch))
            slots = {
                slot.input: Held(runner, outputs[slot.output]).in_order(
                    rows.order, slot.batch_axis, runner.signature.output(slot.output)
                )
                for slot in self._schedule.slots
            }
        return Answer(rows.result(), self._calls(rows.position))

    def _calls(self, positions: int) -> dict[str, int]:
        schedule = self._schedule
        once = dict.fromkeys(filter(None, (schedule.encoder, schedule.first)), 1)
        return {**once, schedule.step: positions - (schedule.first is not None)}

    def _step_inputs(self, runner: EngineRunner, rows: Selector, batch: int) -> dict[str, Buffer]:
        spec = runner.signature.input(self._schedule.tokens)
        tokens: Tokens = rows.fed
        if self._schedule.state == "cached":
            tokens = tokens[:, -1:]
        elif self._schedule.state == "padded":
            tokens = np.full((batch, self._padded_length), self._schedule.generation.pad, np.int64)
            tokens[:, : rows.position + 1] = rows.fed
        carrier = (spec.carrier or spec.dtype).numpy
        inputs = {spec.name: runner.upload(spec, np.array(tokens, carrier, order="C"))}
        for spec in runner.signature.inputs:
            if spec.name == self._schedule.position:
                shape = tuple(batch if isinstance(dim, str) else dim for dim in spec.shape)
                inputs[spec.name] = runner.upload(spec, np.full(shape, rows.position, spec.dtype.numpy))
        return inputs

    @property
    def _padded_length(self) -> int:
        """Length of the padded tokens: the engine's own, else the start token and all but the last token."""
        dim = self._step.signature.input(self._schedule.tokens).shape[1]
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
