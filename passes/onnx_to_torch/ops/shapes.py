"""Shape, Size, Reshape, Flatten, Squeeze, Unsqueeze: sizes in and out; the elements stay where they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, always, equal, integers, numbers, product
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.requirements import require
from passes.onnx_to_torch.values import Known


@op("Shape", 1, 13, 15, 19, 21, 23, 24, 25, moves=True)
def shape(call: Call, data: torch.Tensor) -> Known:
    end = call.attr_int("end", data.dim())
    return Known.of(data.shape[call.attr_int("start", 0) : end])


@op("Size", 1, 13, 19, 21, 23, 24, 25, moves=True)
def size(_: Call, data: torch.Tensor) -> Known:
    return Known.of(product(data.shape))


@op("Reshape", 1)
def reshape_to_attribute(call: Call, data: torch.Tensor) -> torch.Tensor:
    return data.reshape(_target(data.shape, call.attr_ints("shape", []), allow_zero=False))


@op("Reshape", 5, 13, 14, 19, 21, 23, 24, 25, shapes=(1,), moves=True)
def reshape(call: Call, data: torch.Tensor, target: Known) -> torch.Tensor:
    return data.reshape(_target(data.shape, integers(target), bool(call.attr_int("allowzero", 0))))


@known("Reshape", 5, 13, 14, 19, 21, 23, 24, 25)
def known_reshape(call: Call, data: Known, target: Known) -> Known | None:
    if not target.is_concrete:
        return None
    sizes = _target(data.array.shape, integers(target), bool(call.attr_int("allowzero", 0)))
    return Known(data.array.reshape([int(size) for size in sizes]), data.dtype)


def _target(old: Sequence[Int], target: Sequence[Int], allow_zero: bool) -> list[Int]:
    """The new sizes; a -1 is left for reshape to infer. A 0 takes the old size unless zeros are allowed."""
    if allow_zero:
        return list(target)
    return [old[axis] if always(equal(wanted, 0)) else wanted for axis, wanted in enumerate(target)]


@op("Flatten", 1, 9, 11, 13, 21, 23, 24, 25, moves=True)
def flatten(call: Call, data: torch.Tensor) -> torch.Tensor:
    # axis = rank is legal: all dimensions go to the first of the two.
    axis = call.attr_int("axis")
    return data.reshape(product(data.shape[:axis]), product(data.shape[axis:]))


@op("Squeeze", 1, 11)
def squeeze_attribute_axes(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _squeeze(call, data, call.attr_ints("axes") if call.has("axes") else None)


@op("Squeeze", 13, 21, 23, 24, 25, shapes=(1,), moves=True)
def squeeze(call: Call, data: torch.Tensor, axes: Known | None = None) -> torch.Tensor:
    return _squeeze(call, data, None if axes is None else numbers(axes))


def _squeeze(call: Call, data: torch.Tensor, axes: list[int] | None) -> torch.Tensor:
    units = [axis for axis, size in enumerate(data.shape) if always(equal(size, 1))]
    if axes is None:
        return data.squeeze(units)
    named = {axis % data.dim() for axis in axes}
    if named <= set(units):
        return data.squeeze(sorted(named))
    # A size that is not known to be 1: an engine fails where it is not, and torch's squeeze would keep it.
    for axis in sorted(named, reverse=True):
        size = data.shape[axis]
        data = require(data.select(axis, 0), equal(size, 1), f"{call.label}: size 1 on axis {axis}")
    return data


@known("Squeeze", 1, 11)
def known_squeeze_attribute_axes(call: Call, data: Known) -> Known:
    axes = tuple(call.attr_ints("axes")) if call.has("axes") else None
    return Known(data.array.squeeze(axes), data.dtype)


@known("Squeeze", 13, 21, 23, 24, 25)
def known_squeeze(_: Call, data: Known, axes: Known | None = None) -> Known:
    return Known(data.array.squeeze(None if axes is None else tuple(numbers(axes))), data.dtype)


@op("Unsqueeze", 1, 11)
def unsqueeze_attribute_axes(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _unsqueeze(data, call.attr_ints("axes"))


@op("Unsqueeze", 13, 21, 23, 24, 25, shapes=(1,), moves=True)
def unsqueeze(_: Call, data: torch.Tensor, axes: Known) -> torch.Tensor:
    return _unsqueeze(data, numbers(axes))


def _unsqueeze(data: torch.Tensor, axes: list[int]) -> torch.Tensor:
    # Axes count in the result, so they are added from the first on.
    for axis in sorted(axis % (data.dim() + len(axes)) for axis in axes):
        data = data.unsqueeze(axis)
    return data


@known("Unsqueeze", 1, 11)
def known_unsqueeze_attribute_axes(call: Call, data: Known) -> Known:
    return _known_unsqueeze(data, call.attr_ints("axes"))


@known("Unsqueeze", 13, 21, 23, 24, 25)
def known_unsqueeze(_: Call, data: Known, axes: Known) -> Known:
    return _known_unsqueeze(data, numbers(axes))


def _known_unsqueeze(data: Known, axes: list[int]) -> Known:
    rank = data.array.ndim + len(axes)
    named = {axis % rank for axis in axes}
    sizes = iter(data.array.shape)
    return Known(data.array.reshape([1 if axis in named else next(sizes) for axis in range(rank)]), data.dtype)
