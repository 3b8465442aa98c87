"""TopK: the greatest or smallest elements along one axis."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.unsigned import from_ordered, ordered
from passes.onnx_to_torch.values import Known


@op("TopK", 1)
def top_k_of_attribute(call: Call, data: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _top(call, data, call.attr_int("k"))


@op("TopK", 10, 11, 24, shapes=(1,))
def top_k(call: Call, data: torch.Tensor, count: Known) -> tuple[torch.Tensor, torch.Tensor]:
    return _top(call, data, as_int(count.elements[0]))


def _top(call: Call, data: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Always sorted, which `sorted=0` allows too.

    torch.topk picks any of equal elements; ONNX wants those with the lowest index, as a stable sort has them.
    """
    axis = call.attr_int("axis")
    descending = bool(call.attr_int("largest", 1))
    values, indices = torch.sort(ordered(data), stable=True, dim=axis, descending=descending)
    return from_ordered(values.narrow(axis, 0, count), data.dtype), indices.narrow(axis, 0, count)
