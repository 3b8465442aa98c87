"""Clip: elements limited to an interval."""

from __future__ import annotations

import torch

from passes.onnx_to_torch import known_math
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.unsigned import by_order
from passes.onnx_to_torch.values import Known

_BEYOND_HALF = frozenset({torch.float32, torch.float64})
_WITHOUT_CLAMP = frozenset({torch.uint16, torch.uint32, torch.uint64})


@op("Clip", 1, 6)
def clip_to_attributes(call: Call, data: torch.Tensor) -> torch.Tensor:
    low, high = (_limit(call, data, name) for name in ("min", "max"))
    return _clamp(data, low, high)


def _limit(call: Call, data: torch.Tensor, name: str) -> float | None:
    """Version 6 limits by default to what is finite in float32, which tells in types that have more than that."""
    if call.has(name):
        return call.attr_float(name)
    return call.attr_float(name) if call.since == 6 and data.dtype in _BEYOND_HALF else None


@op("Clip", 11, 12, 13)
def clip(
    call: Call, data: torch.Tensor, low: torch.Tensor | None = None, high: torch.Tensor | None = None
) -> torch.Tensor:
    """Bounds are scalars. Where they cross, the upper one wins, as in torch."""
    bounds = [call.static(1) if low is not None else None, call.static(2) if high is not None else None]
    if all(bound is not None or tensor is None for bound, tensor in zip(bounds, (low, high), strict=True)):
        # Python scalars rather than tensors: later passes and targets see the bounds.
        numbers = [None if bound is None else bound.reshape(()).item() for bound in bounds]
        if data.dtype not in _WITHOUT_CLAMP:
            return _clamp(data, *numbers)
    if low is not None:
        data = by_order(torch.maximum, data, low.reshape(()))
    return data if high is None else by_order(torch.minimum, data, high.reshape(()))


def _clamp(data: torch.Tensor, low: float | None, high: float | None) -> torch.Tensor:
    return data if low is None and high is None else torch.clamp(data, low, high)


@known("Clip", 12, 13)
def known_clip(call: Call, data: Known, low: Known | None = None, high: Known | None = None) -> Known | None:
    raised = data if low is None else known_math.elementwise(known_math.maximum, data.dtype, data, _scalar(low))
    if raised is None or high is None:
        return raised
    return known_math.elementwise(known_math.minimum, data.dtype, raised, _scalar(high))


def _scalar(bound: Known) -> Known:
    return Known(bound.array.reshape(()), bound.dtype)
