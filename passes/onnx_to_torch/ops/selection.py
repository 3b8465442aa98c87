"""Where, NonZero, Compress, Unique: elements picked by what they are."""

from __future__ import annotations

import numpy as np
import torch

from passes.onnx_to_torch import known_math
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.movement import index_select
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.unsigned import from_ordered, ordered
from passes.onnx_to_torch.values import Known, to_tensor


@op("Where", 9, 16)
def where(_: Call, condition: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.where(condition, a, b)


@known("Where", 9, 16)
def known_where(_: Call, condition: Known, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(known_math.where, a.dtype, condition, a, b)


@op("NonZero", 9, 13)
def nonzero(_: Call, data: torch.Tensor) -> torch.Tensor:
    # A scalar counts as one element along one axis, as numpy had it when the operator was defined.
    return (data != 0).reshape(data.shape or [1]).nonzero().transpose(0, 1)


@known("NonZero", 9, 13)
def known_nonzero(_: Call, data: Known) -> Known | None:
    if not data.is_concrete:
        return None
    array = data.numpy()
    return Known.from_numpy(np.stack(np.nonzero(array.reshape(array.shape or (1,)))).astype(np.int64))


@op("Compress", 9, 11, 28, either=(1,))
def compress(call: Call, data: torch.Tensor, condition: torch.Tensor | Known) -> torch.Tensor:
    axis = call.attr_int("axis") if call.has("axis") else 0
    if not call.has("axis"):
        data = data.reshape(-1)
    # The condition may be shorter than the axis. Of a known one, the size of the result is known too.
    if isinstance(condition, Known) and condition.is_concrete:
        return index_select(data, axis, Known.from_numpy(np.flatnonzero(condition.numpy())).tensor())
    return index_select(data, axis, to_tensor(condition).nonzero().reshape(-1))


@op("Unique", 11, 28)
def unique(call: Call, data: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values, where each first occurs, which value each element is, how often each occurs."""
    axis = call.attr_int("axis") if call.has("axis") else 0
    items = ordered(data if call.has("axis") else data.reshape(-1))
    values, inverse, counts = torch.unique(items, return_inverse=True, return_counts=True, dim=axis)
    first = torch.zeros_like(counts).scatter_reduce(
        0, inverse, torch.arange(inverse.shape[0]), "amin", include_self=False
    )
    if not call.attr_int("sorted"):
        order = first.argsort()
        values = values.index_select(axis, order)
        first, counts = first.index_select(0, order), counts.index_select(0, order)
        inverse = order.argsort().index_select(0, inverse)
    return from_ordered(values, data.dtype), first, inverse, counts
