"""What the first step of a decode finds in its slots, for graphs that make it themselves."""

from __future__ import annotations

from artifacts.decode_inputs import DecodeInputs, SizeSource
from artifacts.errors import TargetError
from artifacts.schedule import CacheSlot


def first_shape(inputs: DecodeInputs, slot: CacheSlot) -> tuple[int | SizeSource, ...]:
    """The sizes of a slot that no encoder fills, before the first step. Raises TargetError if nothing tells one."""
    first = inputs.steps[0]
    shape: list[int | SizeSource] = []
    for axis, dim in enumerate(inputs.signatures[first].input(slot.input).shape):
        if axis == slot.batch_axis:
            shape.append(inputs.rows)
        elif axis == slot.axis and slot.init == "empty":
            shape.append(0)
        else:
            shape.append(dim if isinstance(dim, int) else _size(inputs, first, dim, slot))
    return tuple(shape)


def _size(inputs: DecodeInputs, step: str, symbol: str, slot: CacheSlot) -> SizeSource:
    for spec in inputs.fixed(step):
        if symbol in spec.shape:
            return SizeSource(spec.name, spec.shape.index(symbol))
    message = f"nothing says how large {symbol!r} is in the first step"
    raise TargetError.of("emit", slot.input, message, "compile with that dimension fixed")
