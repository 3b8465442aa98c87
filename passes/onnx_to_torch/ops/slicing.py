"""Slice: any axes, steps of either sign, bounds that may be symbols."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, always, integers, less, maximum, minimum, numbers, where
from passes.onnx_to_torch.movement import moved
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.values import Known


@op("Slice", 1)
def slice_by_attributes(call: Call, data: torch.Tensor) -> torch.Tensor:
    starts, ends = call.attr_ints("starts"), call.attr_ints("ends")
    return _slice(data, starts, ends, call.attr_ints("axes", range(len(starts))), [1] * len(starts))


@op("Slice", 10, 11, 13, shapes=(1, 2, 3, 4))
def slice_by_inputs(
    _: Call,
    data: torch.Tensor,
    starts: Known,
    ends: Known,
    axes: Known | None = None,
    steps: Known | None = None,
) -> torch.Tensor:
    count = len(starts.elements)
    return _slice(
        data,
        integers(starts),
        integers(ends),
        range(count) if axes is None else numbers(axes),
        [1] * count if steps is None else numbers(steps),
    )


@known("Slice", 10, 11, 13)
def known_slice(
    _: Call, data: Known, starts: Known, ends: Known, axes: Known | None = None, steps: Known | None = None
) -> Known | None:
    if not all(bound.is_concrete for bound in (starts, ends)):
        return None
    named = range(len(starts.elements)) if axes is None else numbers(axes)
    strides = [1] * len(named) if steps is None else numbers(steps)
    index = [slice(None)] * data.array.ndim
    for start, end, axis, step in zip(numbers(starts), numbers(ends), named, strides, strict=True):
        # An end before the first element means "to the very first" for a negative step; Python says None.
        size = data.array.shape[axis]
        before_first = step < 0 and end < -size
        index[axis] = slice(start, None if before_first else end, step)
    return Known(data.array[tuple(index)], data.dtype)


def _slice(
    data: torch.Tensor, starts: Sequence[Int], ends: Sequence[Int], axes: Sequence[int], steps: Sequence[int]
) -> torch.Tensor:
    """Slice axis by axis.

    For positive steps torch counts negative bounds from the end and clamps as ONNX does, so bounds go as they come,
    but for those that a symbolic size may not reach. A negative step is a positive one over the flipped axis.
    """
    index: list[slice] = [slice(None)] * data.dim()
    flipped = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = data.shape[axis]
        if step > 0:
            index[axis] = slice(*_bounds(start, end, size), step)
        elif step < 0:
            flipped.append(axis)
            index[axis] = slice(_from_end(start, size), _from_end(end, size), -step)
        else:
            raise ValueError("a step of 0")
    return (moved(lambda carried: carried.flip(flipped), data) if flipped else data)[tuple(index)]


def _from_end(position: Int, size: Int) -> Int:
    """A bound in the flipped axis. One counted from the end needs no size: -1 becomes 0."""
    return where(less(position, 0), -1 - position, maximum(size - 1 - position, 0))


def _bounds(start: Int, end: Int, size: Int) -> tuple[Int, Int]:
    """Bounds as torch takes them.

    Numbers that go beyond some sizes and not beyond the sample's would hold all sizes to what the sample's is, so they
    become the positions that they stand for.
    """
    if isinstance(size, int) or (_in_reach(start, size) and _in_reach(end, size)):
        # No axis is that long, and torch warns of truncation near the least int64.
        first, last = (max(bound, -(2**62)) if isinstance(bound, int) else bound for bound in (start, end))
        return first, last
    first, last = _position(start, size), _position(end, size)
    return first, maximum(first, last)


def _in_reach(bound: Int, size: Int) -> bool:
    """True if no size is too small for a bound, as far as it is a number."""
    return isinstance(bound, torch.SymInt) or abs(bound) >= _END or always(abs(bound) <= size)


def _position(bound: Int, size: Int) -> Int:
    if isinstance(bound, int) and abs(bound) >= _END:
        return size if bound > 0 else 0
    return where(less(bound, 0), maximum(size + bound, 0), minimum(bound, size))


_END = (1 << 31) - 1
"""Exporters write the greatest integer of 32 or 64 bits for the end of an axis."""
