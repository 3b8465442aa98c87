"""Pad and CenterCropPad."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from artifacts.dtype import DType
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, always, arange, integers, maximum, minimum, numbers
from passes.onnx_to_torch.movement import index_select
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.values import Known
from passes.torch_dtypes import HAS_TORCH_DTYPE

_TORCH_MODES = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
_HAS_KERNEL = frozenset({torch.float32, torch.float64, torch.float16, torch.bfloat16})


@op("Pad", 1)
def pad_by_paddings(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _pad(call, data, call.attr_ints("paddings"), None, call.attr_float("value"))


@op("Pad", 2)
def pad_by_attributes(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _pad(call, data, call.attr_ints("pads"), None, call.attr_float("value"))


@op("Pad", 11, 13, 18, 19, 21, 23, 24, 25, shapes=(1, 3), moves=True)
def pad(
    call: Call,
    data: torch.Tensor,
    pads: Known,
    value: torch.Tensor | None = None,
    axes: Known | None = None,
) -> torch.Tensor:
    static = call.static(2)
    # The static array of a type that torch has not holds values, the tensor the codes that carry them.
    is_number = static is not None and DType.of(static.dtype) in HAS_TORCH_DTYPE
    fill = 0 if value is None else static.reshape(-1)[0].item() if static is not None and is_number else value
    return _pad(call, data, integers(pads), None if axes is None else numbers(axes), fill)


@op("CenterCropPad", 18, shapes=(1,))
def center_crop_pad(call: Call, data: torch.Tensor, shape: Known) -> torch.Tensor:
    """Crop and pad by amounts of which one is 0 on every axis, so that no size has to be compared."""
    targets = integers(shape)
    axes = call.attr_ints("axes", range(len(targets)))
    pads: list[tuple[Int, Int]] = [(0, 0)] * data.dim()
    for axis, target in zip(axes, targets, strict=True):
        size = data.shape[axis]
        missing = maximum(target - size, 0)
        pads[axis] = (missing // 2, missing - missing // 2)
        data = data.narrow(axis, maximum(size - target, 0) // 2, minimum(size, target))
    return torch.constant_pad_nd(data, _torch_order(pads), 0)


def _pad(
    call: Call,
    data: torch.Tensor,
    pads: Sequence[Int],
    axes: Sequence[int] | None,
    fill: float | torch.Tensor,
) -> torch.Tensor:
    named = range(data.dim()) if axes is None else [axis % data.dim() for axis in axes]
    by_axis: list[tuple[Int, Int]] = [(0, 0)] * data.dim()
    for axis, begin, end in zip(named, pads[: len(named)], pads[len(named) :], strict=True):
        by_axis[axis] = (begin, end)
    mode = call.attr_text("mode")
    if mode != "constant":
        return _pad_from_data(data, by_axis, mode)
    if not isinstance(fill, torch.Tensor):
        # Not F.pad: its value is a float, which holds no int64 beyond 2^53.
        return torch.constant_pad_nd(data, _torch_order(by_axis), fill)
    inside = torch.constant_pad_nd(torch.ones_like(data, dtype=torch.bool), _torch_order(by_axis), False)
    return torch.where(inside, torch.constant_pad_nd(data, _torch_order(by_axis), 0), fill.reshape(()))


def _torch_order(pads: Sequence[tuple[Int, Int]]) -> list[int]:
    """Begin and end of each axis, last axis first, leading axes without pads left out."""
    ordered = [as_int(amount) for pair in reversed(pads) for amount in pair]
    while ordered and always(ordered[-1] == 0):
        ordered.pop()
    return ordered + [0] * (len(ordered) % 2)


def _pad_from_data(data: torch.Tensor, pads: Sequence[tuple[Int, Int]], mode: str) -> torch.Tensor:
    # Negative pads remove elements before the others are made from what is left.
    for axis, (begin, end) in enumerate(pads):
        if not (always(begin >= 0) and always(end >= 0)):
            first = maximum(-begin, 0)
            data = data.narrow(axis, first, data.shape[axis] - first - maximum(-end, 0))
    pads = [(maximum(begin, 0), maximum(end, 0)) for begin, end in pads]
    ordered = _torch_order(pads)
    padded = len(ordered) // 2
    # torch pads the last one to three axes of a batch of channels, by less than the axis's size.
    fits = all(always(amount < data.shape[-1 - i // 2]) for i, amount in enumerate(ordered))
    if fits and data.dtype in _HAS_KERNEL and data.dim() - padded in (1, 2) and 1 <= padded <= 3:
        return F.pad(data, ordered, _TORCH_MODES[mode])
    for axis, (begin, end) in enumerate(pads):
        if not (always(begin == 0) and always(end == 0)):
            data = index_select(data, axis, _source_positions(data.shape[axis], begin, end, mode))
    return data


def _source_positions(size: Int, begin: Int, end: Int, mode: str) -> torch.Tensor:
    """For each position of the padded axis the position its element comes from, both int64."""
    positions = arange(-begin, size + end)
    if mode == "edge":
        return positions.clamp(0, as_int(size) - 1)
    if mode == "wrap":
        return positions.remainder(as_int(size))
    # Reflection repeats after going there and back; an axis of size 1 has nowhere to go.
    period = as_int(maximum(2 * (size - 1), 1))
    there = positions.remainder(period)
    return torch.minimum(there, period - there)
