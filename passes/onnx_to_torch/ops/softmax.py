"""Softmax, LogSoftmax and Hardmax."""

from __future__ import annotations

from collections.abc import Callable

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op


@op("Softmax", 13)
def softmax(call: Call, data: torch.Tensor) -> torch.Tensor:
    return torch.softmax(data, call.attr_int("axis"))


@op("LogSoftmax", 13)
def log_softmax(call: Call, data: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(data, call.attr_int("axis"))


@op("Hardmax", 13)
def hardmax(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _hardmax(data, call.attr_int("axis"))


@op("Softmax", 1, 11)
def flat_softmax(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _over_trailing(call, torch.softmax, data)


@op("LogSoftmax", 1, 11)
def flat_log_softmax(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _over_trailing(call, torch.log_softmax, data)


@op("Hardmax", 1, 11)
def flat_hardmax(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _over_trailing(call, _hardmax, data)


def _over_trailing(
    call: Call, function: Callable[[torch.Tensor, int], torch.Tensor], data: torch.Tensor
) -> torch.Tensor:
    """The function over all axes from `axis` to the last at once: before 13 the input was seen as 2D."""
    axis = call.attr_int("axis") % max(data.dim(), 1)
    if axis >= data.dim() - 1:
        return function(data, axis)
    return function(data.flatten(axis), axis).reshape(data.shape)


def _hardmax(data: torch.Tensor, axis: int) -> torch.Tensor:
    """1 at the first of the greatest elements along the axis, 0 elsewhere."""
    last = data.movedim(axis, -1)
    positions = torch.arange(last.shape[-1], device=data.device)
    return (last.argmax(-1, keepdim=True) == positions).to(data.dtype).movedim(-1, axis)
