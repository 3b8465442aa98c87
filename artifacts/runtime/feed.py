"""What goes into the steps of a decode: the caller's inputs, the encoder's outputs, and the slots at the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.decode_inputs import DecodeInputs, SizeSource
from artifacts.dtype import DType
from artifacts.engines import Buffer, EngineRunner
from artifacts.errors import Problem, RunError
from artifacts.schedule import CacheSlot, Decode
from artifacts.spec import Signature, TensorSpec

Array = npt.NDArray[Any]

STAGE = "decode"


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

    def in_order(self, order: npt.NDArray[np.int64] | None, axis: int, spec: TensorSpec) -> Held:
        """The rows along `axis` that `order` names, in its order; itself if that changes nothing."""
        if order is None or np.array_equal(order, np.arange(self.buffer.shape[axis])):
            return self
        array = np.ascontiguousarray(np.take(self.runner.download(self.buffer), order, axis))
        return Held(self.runner, self.runner.upload(spec, array))


@dataclass(frozen=True, eq=False)
class Request:
    """One request: the caller's arrays, what the encoder made of them, and the number of rows.

    With beams every row is there `width` times, side by side, and `batch` counts all of them.
    """

    arrays: Mapping[str, Array]
    encoded: Mapping[str, Held]
    batch: int
    width: int = 1


class Feed:
    """Gives the runners of a schedule their inputs."""

    def __init__(self, inputs: DecodeInputs, encoder: EngineRunner | None) -> None:
        self.schedule = inputs.schedule
        self.inputs = inputs
        self._encoder = encoder
        self._rows = self.inputs.rows
        self._row_axes = self.inputs.row_axes
        self.drops = self.inputs.can_drop_rows
        rows = inputs.signatures[inputs.steps[0]].input(inputs.schedule.tokens).shape[0]
        outputs = (
            TensorSpec(name="tokens", dtype=DType.INT64, shape=(rows, "generated")),
            TensorSpec(name="lengths", dtype=DType.INT64, shape=(rows,)),
        )
        scores = TensorSpec(name="scores", dtype=DType.FLOAT32, shape=(rows,))
        beams = inputs.schedule.generation.beams is not None
        self.signature = Signature(inputs=self.inputs.callers, outputs=(*outputs, *([scores] if beams else [])))

    def request(self, arrays: Mapping[str, Array], width: int = 1) -> Request:
        """Run the encoder, if there is one, on checked inputs; then every row stands for `width` rows of the steps.

        Raises RunError if the steps take one number of rows only, and that is not what `width` makes of them.
        """
        encoded: dict[str, Held] = {}
        if self._encoder is not None:
            encoder = self._encoder
            inputs = {spec.name: encoder.upload(spec, arrays[spec.name]) for spec in encoder.signature.inputs}
            encoded = {name: Held(encoder, buffer) for name, buffer in encoder.run(inputs).items()}
        rows = self._rows
        batch = int(arrays[rows.name].shape[rows.axis]) if isinstance(rows, SizeSource) else rows
        request = Request(arrays, encoded, batch)
        return request if width == 1 else self._repeated(request, width)

    def _repeated(self, request: Request, width: int) -> Request:
        axes = self._row_axes
        if axes is None:
            message = "takes a fixed number of rows, and beams need more"
            raise RunError.of(STAGE, self.schedule.step, message, "compile a model whose batch is symbolic")
        starts = ((slot.init.partition(":"), slot.batch_axis) for slot in self.schedule.slots)
        axes = axes | {name: axis for (kind, _, name), axis in starts if kind == "encoder"}
        return replace(self._in_order(request, np.repeat(np.arange(request.batch), width), axes), width=width)

    def kept(self, request: Request, order: npt.NDArray[np.int64]) -> Request:
        """The rows that `order` names, int64 [rows], of what every step is given. Only where this `drops` rows."""
        return self._in_order(request, order, self._row_axes or {})

    def _in_order(self, request: Request, order: npt.NDArray[np.int64], axes: Mapping[str, int]) -> Request:
        specs = {spec.name: spec for spec in self.inputs.encoded}
        given = {
            name: np.take(array, order, axes[name]) if name in axes else array for name, array in request.arrays.items()
        }
        made = {
            name: held.in_order(order, axes[name], specs[name]) if name in axes else held
            for name, held in request.encoded.items()
        }
        return replace(request, arrays=given, encoded=made, batch=len(order))

    def fixed(self, runner: EngineRunner, request: Request) -> dict[str, Buffer]:
        """The inputs of a runner that are the same at every position: the caller's and the encoder's."""
        found: dict[str, Buffer] = {}
        for spec in runner.signature.inputs:
            if spec.name in self.inputs.carried:
                continue
            if spec.name in request.encoded:
                found[spec.name] = request.encoded[spec.name].on(runner, spec)
            elif spec.name in request.arrays:
                found[spec.name] = runner.upload(spec, request.arrays[spec.name])
        return found

    def slots_of(self, runner: EngineRunner) -> Iterator[CacheSlot]:
        """The slots that a runner takes: the first one may take none."""
        names = {spec.name for spec in runner.signature.inputs}
        return (slot for slot in self.schedule.slots if slot.input in names)

    def first_slots(self, runner: EngineRunner, fixed: Mapping[str, Buffer], request: Request) -> dict[str, Held]:
        """What the first step finds in the slots that it takes."""
        return {
            slot.input: self._first_slot(slot, runner.signature.input(slot.input), runner, fixed, request)
            for slot in self.slots_of(runner)
        }

    def _first_slot(
        self,
        slot: CacheSlot,
        spec: TensorSpec,
        runner: EngineRunner,
        fixed: Mapping[str, Buffer],
        request: Request,
    ) -> Held:
        if slot.init.startswith("encoder:"):
            return request.encoded[slot.init.removeprefix("encoder:")]
        sizes = _symbol_sizes(runner.signature, fixed)
        shape = []
        for axis, dim in enumerate(spec.shape):
            if axis == slot.batch_axis:
                shape.append(request.batch)
            elif axis == slot.axis and slot.init == "empty":
                shape.append(0)
            elif isinstance(dim, int) or dim in sizes:
                shape.append(dim if isinstance(dim, int) else sizes[dim])
            else:
                message = f"nothing says how large {dim!r} is in the first step"
                raise RunError.of(STAGE, spec.name, message, "compile with that dimension fixed")
        return Held(runner, runner.alloc(spec, tuple(shape)))


def step_problems(schedule: Decode, steps: Sequence[Signature], encoder: Signature | None) -> Iterator[Problem]:
    """Where engines that are one step each do not fit their schedule; the last is the one that is called again."""
    for signature in steps:
        ins = {spec.name: spec for spec in signature.inputs}
        outs = {spec.name: spec for spec in signature.outputs}
        if schedule.tokens not in ins or ins[schedule.tokens].rank != 2:
            yield Problem(STAGE, schedule.tokens, "is not an input [batch, t] of the step")
        if schedule.logits not in outs or outs[schedule.logits].rank != 3:
            yield Problem(STAGE, schedule.logits, "is not an output [batch, t, vocabulary] of the step")
        for slot in schedule.slots:
            if slot.output not in outs:
                yield Problem(STAGE, slot.output, "is a slot's output and not one of the step")
    last = {spec.name: spec for spec in steps[-1].inputs}
    encoded = set() if encoder is None else {spec.name for spec in encoder.outputs}
    for slot in schedule.slots:
        if slot.input not in last:
            yield Problem(STAGE, slot.input, "is a slot's input and not one of the step")
        if slot.init.startswith("encoder:") and slot.init.removeprefix("encoder:") not in encoded:
            yield Problem(STAGE, slot.input, f"starts as {slot.init}, which is no output of the encoder")
    if schedule.position is not None and schedule.position not in last:
        yield Problem(STAGE, schedule.position, "is the position and not an input of the step")
    if schedule.state == "padded" and schedule.tokens in last:
        dim = last[schedule.tokens].shape[-1:]
        if dim and isinstance(dim[0], int) and dim[0] < schedule.generation.max_new_tokens:
            yield Problem(STAGE, schedule.tokens, f"has room for {dim[0]} tokens, fewer than may be made")


def _symbol_sizes(signature: Signature, buffers: Mapping[str, Buffer]) -> dict[str, int]:
    """The size of every symbol that the given buffers of a call determine."""
    sizes = {}
    for spec in signature.inputs:
        if spec.name in buffers:
            for dim, size in zip(spec.shape, buffers[spec.name].shape, strict=True):
                if isinstance(dim, str):
                    sizes[dim] = size
    return sizes
