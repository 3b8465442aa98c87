"""Greedy decoding with the loop on the host: an encoder once, then a step per token.

What a step is given depends on the schedule's state: all tokens so far (`recompute`), the same at one fixed
length (`padded`), or the last token and what the step before left in the slots (`cached`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.carriers import widened
from artifacts.dtype import DType
from artifacts.engines import Buffer, EngineRunner
from artifacts.errors import BundleError, Problem, RunError
from artifacts.runtime.greedy import Greedy, Tokens
from artifacts.schedule import CacheSlot, Decode, Host
from artifacts.spec import Signature, TensorSpec

Array = npt.NDArray[Any]

_STAGE = "decode"


@dataclass(frozen=True, eq=False)
class Held:
    """A buffer and the runner that made it."""

    runner: EngineRunner
    buffer: Buffer

    def on(self, runner: EngineRunner, spec: TensorSpec) -> Buffer:
        """The buffer itself for a runner of the same kind, else a copy by way of the host."""
        if runner.kind == self.runner.kind:
            return self.buffer
        return runner.upload(spec, self.runner.download(self.buffer))


class HostDecoder:
    """Runs a `Decode(control=host)` schedule."""

    def __init__(self, schedule: Decode, runners: Mapping[str, EngineRunner], source: Signature) -> None:
        """`runners` holds every function of the schedule; `source` is the source model's signature.

        Raises RunError for a control that is not `host`, BundleError if functions and schedule do not fit.
        """
        if not isinstance(schedule.control, Host):
            message = f"control {schedule.control.kind!r} needs an engine that loops by itself"
            raise RunError.of(_STAGE, schedule.step, message, "compile with a schedule that the host controls")
        self._schedule = schedule
        self._encoder = None if schedule.encoder is None else runners[schedule.encoder]
        self._step = runners[schedule.step]
        self._first = self._step if schedule.first is None else runners[schedule.first]
        BundleError.raise_if(self._problems())
        self.signature = self._outer_signature(source)

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Decode greedily from checked inputs.

        Returns `tokens` int64 [batch, n], start token left out, end token kept, rows filled with pad, and
        `lengths` int64 [batch], end token counted. n is the longest row's length.
        """
        batch = self._batch(arrays)
        encoded: dict[str, Held] = {}
        if self._encoder is not None:
            encoder = self._encoder
            inputs = {s.name: encoder.upload(s, arrays[s.name]) for s in encoder.signature.inputs}
            encoded = {name: Held(encoder, buffer) for name, buffer in encoder.run(inputs).items()}
        runners = dict.fromkeys((self._first, self._step))
        fixed = {runner: dict(self._fixed_inputs(runner, arrays, encoded)) for runner in runners}
        slots: dict[str, Held] = {}
        rows = Greedy(self._schedule.generation, batch)
        while not rows.finished:
            runner = self._first if rows.position == 0 else self._step
            inputs = dict(fixed[runner])
            for slot in self._slots_of(runner):
                spec = runner.signature.input(slot.input)
                if slot.input not in slots:
                    slots[slot.input] = self._initial(slot, spec, runner, inputs, encoded, batch)
                inputs[slot.input] = slots[slot.input].on(runner, spec)
            inputs |= self._step_inputs(runner, rows, batch)
            outputs = runner.run(inputs)
            slots = {s.input: Held(runner, outputs[s.output]) for s in self._schedule.slots}
            rows.append(self._scores(runner, outputs, rows, batch))
        return rows.result()

    # What goes in

    def _slots_of(self, runner: EngineRunner) -> Iterator[CacheSlot]:
        names = {spec.name for spec in runner.signature.inputs}
        return (slot for slot in self._schedule.slots if slot.input in names)

    def _is_outer(self, name: str) -> bool:
        """True for an input that the caller gives."""
        schedule = self._schedule
        encoded = () if self._encoder is None else self._encoder.signature.outputs
        inner = {
            schedule.tokens,
            schedule.position,
            *(s.input for s in schedule.slots),
            *(s.name for s in encoded),
        }
        return name not in inner

    def _fixed_inputs(
        self, runner: EngineRunner, arrays: Mapping[str, Array], encoded: Mapping[str, Held]
    ) -> Iterator[tuple[str, Buffer]]:
        """The inputs that are the same in every step: the caller's and the encoder's."""
        slots = {slot.input for slot in self._schedule.slots}
        for spec in runner.signature.inputs:
            if self._is_outer(spec.name):
                yield spec.name, runner.upload(spec, arrays[spec.name])
            elif spec.name in encoded and spec.name not in slots:
                yield spec.name, encoded[spec.name].on(runner, spec)

    def _step_inputs(self, runner: EngineRunner, rows: Greedy, batch: int) -> dict[str, Buffer]:
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

    def _initial(
        self,
        slot: CacheSlot,
        spec: TensorSpec,
        runner: EngineRunner,
        inputs: Mapping[str, Buffer],
        encoded: Mapping[str, Held],
        batch: int,
    ) -> Held:
        """What the first step finds in a slot."""
        if slot.init.startswith("encoder:"):
            return encoded[slot.init.removeprefix("encoder:")]
        sizes = _symbol_sizes(runner.signature, inputs)
        shape = []
        for axis, dim in enumerate(spec.shape):
            if axis == slot.batch_axis:
                shape.append(batch)
            elif axis == slot.axis and slot.init == "empty":
                shape.append(0)
            elif isinstance(dim, int) or dim in sizes:
                shape.append(dim if isinstance(dim, int) else sizes[dim])
            else:
                message = f"nothing says how large {dim!r} is in the first step"
                raise RunError.of(_STAGE, spec.name, message, "compile with that dimension fixed")
        return Held(runner, runner.alloc(spec, tuple(shape)))

    def _batch(self, arrays: Mapping[str, Array]) -> int:
        """Number of rows: the token input's batch symbol, else the first dimension that there is."""
        symbol = self._first.signature.input(self._schedule.tokens).shape[0]
        if isinstance(symbol, int):
            return symbol
        for spec in self.signature.inputs:
            if symbol in spec.shape:
                return int(arrays[spec.name].shape[spec.shape.index(symbol)])
        return next((int(a.shape[0]) for a in arrays.values() if a.ndim), 1)

    # What comes out

    def _scores(self, runner: EngineRunner, outputs: Mapping[str, Buffer], rows: Greedy, batch: int) -> Array:
        """The scores of the next token, [batch, vocabulary]."""
        name = self._schedule.logits
        logits = runner.download(outputs[name])
        at = rows.position if self._schedule.state == "padded" else -1
        if logits.ndim != 3 or logits.shape[0] != batch or not -1 <= at < logits.shape[1]:
            message = f"has the shape {logits.shape} at position {rows.position}, expected [{batch}, t, vocabulary]"
            raise RunError.of(_STAGE, name, message)
        return widened(logits[:, at], runner.signature.output(name).dtype)

    def _outer_signature(self, source: Signature) -> Signature:
        """The caller's inputs, in the source model's words where it has them; tokens and lengths."""
        named = {spec.name: spec for spec in source.inputs}
        inputs: dict[str, TensorSpec] = {}
        for runner in (self._encoder, self._first, self._step):
            for spec in () if runner is None else runner.signature.inputs:
                if runner is self._encoder or self._is_outer(spec.name):
                    inputs.setdefault(spec.name, named.get(spec.name, spec))
        outputs = (
            TensorSpec(name="tokens", dtype=DType.INT64, shape=("batch", "generated")),
            TensorSpec(name="lengths", dtype=DType.INT64, shape=("batch",)),
        )
        return Signature(inputs=tuple(inputs.values()), outputs=outputs)

    def _problems(self) -> Iterator[Problem]:
        schedule = self._schedule
        for runner in (self._first, self._step):
            ins = {spec.name: spec for spec in runner.signature.inputs}
            outs = {spec.name: spec for spec in runner.signature.outputs}
            if schedule.tokens not in ins or ins[schedule.tokens].rank != 2:
                yield Problem(_STAGE, schedule.tokens, "is not an input [batch, t] of the step")
            if schedule.logits not in outs or outs[schedule.logits].rank != 3:
                yield Problem(_STAGE, schedule.logits, "is not an output [batch, t, vocabulary] of the step")
            for slot in schedule.slots:
                if slot.output not in outs:
                    yield Problem(_STAGE, slot.output, "is a slot's output and not one of the step")
        last = {spec.name: spec for spec in self._step.signature.inputs}
        encoded = set() if self._encoder is None else {s.name for s in self._encoder.signature.outputs}
        for slot in schedule.slots:
            if slot.input not in last:
                yield Problem(_STAGE, slot.input, "is a slot's input and not one of the step")
            if slot.init.startswith("encoder:") and slot.init.removeprefix("encoder:") not in encoded:
                yield Problem(_STAGE, slot.input, f"starts as {slot.init}, which is no output of the encoder")
        if schedule.position is not None and schedule.position not in last:
            yield Problem(_STAGE, schedule.position, "is the position and not an input of the step")
        if schedule.state == "padded" and schedule.tokens in last:
            dim = last[schedule.tokens].shape[-1:]
            if dim and isinstance(dim[0], int) and dim[0] < schedule.generation.max_new_tokens:
                yield Problem(_STAGE, schedule.tokens, f"has room for {dim[0]} tokens, fewer than may be made")


def _symbol_sizes(signature: Signature, buffers: Mapping[str, Buffer]) -> dict[str, int]:
    """The size of every symbol that the given buffers of a call determine."""
    sizes = {}
    for spec in signature.inputs:
        if spec.name in buffers:
            for dim, size in zip(spec.shape, buffers[spec.name].shape, strict=True):
                if isinstance(dim, str):
                    sizes[dim] = size
    return sizes
