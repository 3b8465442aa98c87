"""Where, NonZero, Compress: elements picked by a condition."""

from __future__ import annotations

import torch

from passes.onnx_to_torch import known_math
from passes.onnx_to_torch.bits import by_bits
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.values import Known


@op("Where", 9, 16)
def where(_: Call, condition: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.where(condition, a, b)


@known("Where", 9, 16)
def known_where(_: Call, condition: Known, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(known_math.where, a.dtype, condition, a, b)


@op("NonZero", 9, 13)
def nonzero(_: Call, data: torch.Tensor) -> torch.Tensor:
    # A scalar counts as one element along one axis, as numpy had it when the operator was defined.
    return by_bits(torch.nonzero, data.reshape(-1) if data.dim() == 0 else data).transpose(0, 1)


@op("Compress", 9, 11, 28)
def compress(call: Call, data: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    axis = call.attr_int("axis") if call.has("axis") else 0
    if not call.has("axis"):
        data = data.reshape(-1)
    # The condition may be shorter than the axis.
    return data.index_select(axis, condition.nonzero().reshape(-1))
