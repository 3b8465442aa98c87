"""ArgMax and ArgMin: where the extremes along one axis are."""

from __future__ import annotations

from collections.abc import Callable

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.unsigned import ordered


@op("ArgMax", 1, 11, 12, 13)
def argmax(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _index(call, torch.argmax, data)


@op("ArgMin", 1, 11, 12, 13)
def argmin(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _index(call, torch.argmin, data)


def _index(call: Call, function: Callable[[torch.Tensor, int, bool], torch.Tensor], data: torch.Tensor) -> torch.Tensor:
    """Of equal elements the first, in torch as in ONNX, unless `select_last_index` (from 12 on) is set."""
    axis, keep = call.attr_int("axis"), bool(call.attr_int("keepdims"))
    if not call.attr_int("select_last_index", 0):
        return function(ordered(data), axis, keep)
    return data.shape[axis] - 1 - function(torch.flip(ordered(data), [axis]), axis, keep)
