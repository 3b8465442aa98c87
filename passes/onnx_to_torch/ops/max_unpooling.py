"""MaxUnpool: pooled maxima put back where they came from."""

from __future__ import annotations

import math

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.values import Known
from passes.onnx_to_torch.windows import pad_spatial, windows


@op("MaxUnpool", 9, 11, 22, shapes=(2,))
def max_unpool(call: Call, data: torch.Tensor, positions: torch.Tensor, shape: Known | None = None) -> torch.Tensor:
    """`positions` count in the whole tensor that kernel, strides and pads imply; zeros fill it up to `shape`."""
    area = windows(call, call.attr_ints("kernel_shape"), data.shape[2:])
    axes = zip(data.shape[2:], area.strides, area.kernel, area.begin, area.end, strict=True)
    spatial = [(size - 1) * stride + kernel - as_int(begin) - as_int(end) for size, stride, kernel, begin, end in axes]
    implied = [*data.shape[:2], *spatial]
    flat = torch.zeros(math.prod(implied), dtype=data.dtype, device=data.device)
    result = flat.scatter(0, positions.flatten(), data.flatten()).reshape(implied)
    if shape is None:
        return result
    beyond = [as_int(wanted) - size for wanted, size in zip(shape.elements[2:], spatial, strict=True)]
    return pad_spatial(result, [0] * len(spatial), beyond)
