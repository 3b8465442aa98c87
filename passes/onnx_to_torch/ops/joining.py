"""Concat and Split: along one axis, many tensors to one and one to many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, integers
from passes.onnx_to_torch.operands import whole_numbers
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.values import Known


@op("Concat", 1, 4, 11, 13)
def concat(call: Call, *parts: torch.Tensor) -> torch.Tensor:
    # torch.cat leaves out a part of shape [0], whatever the rank of the others: ONNX has no such parts.
    return torch.cat(parts, _concat_axis(call))


@known("Concat", 1, 4, 11, 13)
def known_concat(call: Call, *parts: Known) -> Known:
    return Known(np.concatenate([part.array for part in parts], _concat_axis(call)), parts[0].dtype)


def _concat_axis(call: Call) -> int:
    return call.attr_int("axis", 1 if call.since == 1 else None)


@op("Split", 1)
def split_attribute_or_input(
    call: Call, data: torch.Tensor, sizes: torch.Tensor | None = None
) -> tuple[torch.Tensor, ...]:
    """Version 1 has sizes of the data's own element type."""
    if sizes is None:
        return split_attribute(call, data)
    return _split(call, data, whole_numbers(call, 1, sizes))


@op("Split", 2, 11)
def split_attribute(call: Call, data: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return _split(call, data, call.attr_ints("split") if call.has("split") else None)


@op("Split", 13, 18, shapes=(1,))
def split(call: Call, data: torch.Tensor, sizes: Known | None = None) -> tuple[torch.Tensor, ...]:
    return _split(call, data, None if sizes is None else integers(sizes))


@known("Split", 2, 11)
def known_split_attribute(call: Call, data: Known) -> tuple[Known, ...] | None:
    return _known_split(call, data, call.attr_ints("split") if call.has("split") else None)


@known("Split", 13, 18)
def known_split(call: Call, data: Known, sizes: Known | None = None) -> tuple[Known, ...] | None:
    return _known_split(call, data, None if sizes is None else integers(sizes))


def _split(call: Call, data: torch.Tensor, sizes: Sequence[Int] | None) -> tuple[torch.Tensor, ...]:
    axis = call.attr_int("axis", 0)
    lengths = _sizes(call, data.shape[axis]) if sizes is None else sizes
    return tuple(torch.split_with_sizes(data, list(lengths), axis))


def _known_split(call: Call, data: Known, sizes: Sequence[Int] | None) -> tuple[Known, ...] | None:
    axis = call.attr_int("axis", 0)
    wanted = _sizes(call, data.array.shape[axis]) if sizes is None else sizes
    lengths = [length for length in wanted if isinstance(length, int)]
    if len(lengths) < len(wanted):
        return None
    return tuple(Known(part, data.dtype) for part in np.split(data.array, np.cumsum(lengths[:-1]), axis))


def _sizes(call: Call, size: Int) -> list[Int]:
    """Sizes of parts that are not given: equal, the last one smaller where that does not come out even.

    Every output that the node declares counts, read or not, and an unnamed one in the middle too.
    """
    count = call.attr_int("num_outputs", len(call.node.outputs))
    part = (size + count - 1) // count
    return [part] * (count - 1) + [size - part * (count - 1)]
