"""CumSum and CumProd: running totals along one axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from passes.onnx_to_torch import known_math
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.unsigned import modular
from passes.onnx_to_torch.values import Known, Scalar


@op("CumSum", 11, 14, shapes=(1,))
def cumsum(call: Call, data: torch.Tensor, axis: Known) -> torch.Tensor:
    return modular(lambda x: _scan(call, torch.cumsum, 0.0, x, _axis(call, axis)), data)


@op("CumProd", 26, shapes=(1,))
def cumprod(call: Call, data: torch.Tensor, axis: Known) -> torch.Tensor:
    return modular(lambda x: _scan(call, torch.cumprod, 1.0, x, _axis(call, axis)), data)


def _axis(call: Call, axis: Known) -> int:
    if not axis.is_concrete:
        call.unsupported("an axis that is computed by the model")
    return int(axis.elements[0])


def _scan(
    call: Call, function: Callable[..., torch.Tensor], neutral: float, data: torch.Tensor, axis: int
) -> torch.Tensor:
    """`exclusive` leaves each element out of its own total; `reverse` runs from the end."""
    if call.attr_int("reverse"):
        data = torch.flip(data, [axis])
    if call.attr_int("exclusive"):
        after = data.dim() - 1 - axis % data.dim()
        data = F.pad(data, [0, 0] * after + [1, -1], value=neutral)
    result = function(data, axis, dtype=data.dtype)
    return torch.flip(result, [axis]) if call.attr_int("reverse") else result


@known("CumSum", 11, 14)
def known_cumsum(call: Call, data: Known, axis: Known) -> Known | None:
    if data.array.ndim != 1 or call.attr_int("reverse") or call.attr_int("exclusive"):
        return None
    total: Scalar = 0
    result = np.empty_like(data.array)
    for position, element in enumerate(data.elements):
        total = result[position] = known_math.wrap(as_int(total) + as_int(element), data.dtype)
    return Known(result, data.dtype)
