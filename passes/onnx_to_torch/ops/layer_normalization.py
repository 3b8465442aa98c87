"""LayerNormalization and RMSNormalization: statistics over the last axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, always
from passes.onnx_to_torch.precision import widest
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.tensors import torch_dtype


@op("LayerNormalization", 17)
def layer_normalization(
    call: Call, data: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None = None
) -> tuple[torch.Tensor, ...]:
    """Also the mean and the inverse standard deviation, in the element type that `stash_type` names."""
    axis = call.attr_int("axis") % data.dim()
    normalized = list(data.shape[axis:])
    epsilon = call.attr_float("epsilon")
    stash = torch_dtype(call.attr_int("stash_type"), call.label)
    fits = _has_shape(scale, normalized) and (bias is None or _has_shape(bias, normalized))
    if fits and widest(stash, data.dtype) in (torch.float32, data.dtype):
        # torch keeps the statistics of half precision in float32 by itself.
        result = F.layer_norm(data, normalized, scale, bias, epsilon)
    else:
        result = F.layer_norm(data.to(stash), normalized, eps=epsilon).to(data.dtype) * scale
        result = result if bias is None else result + bias
    if call.output_count == 1:
        return (result,)
    axes = list(range(axis, data.dim()))
    variance, mean = torch.var_mean(data.to(stash), axes, correction=0, keepdim=True)
    return (result, mean, torch.rsqrt(variance + epsilon))[: call.output_count]


def _has_shape(tensor: torch.Tensor, shape: Sequence[Int]) -> bool:
    pairs = zip(tensor.shape, shape, strict=False)
    return tensor.dim() == len(shape) and all(always(size == other) for size, other in pairs)


@op("RMSNormalization", 23)
def rms_normalization(call: Call, data: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Data x as x / sqrt(mean(x^2) + epsilon) in `stash_type`, rounded to its own type, times scale, in the scale's."""
    axis = call.attr_int("axis") % data.dim()
    stash = torch_dtype(call.attr_int("stash_type"), call.label)
    normalized = F.rms_norm(data.to(stash), list(data.shape[axis:]), eps=call.attr_float("epsilon"))
    return normalized.to(data.dtype).to(scale.dtype) * scale
