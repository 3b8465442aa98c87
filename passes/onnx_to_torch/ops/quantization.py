"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear, to and from types of 2 to 16 bits."""

from __future__ import annotations

import torch

from artifacts.dtype import DType
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.carried import decoded, encoded
from passes.onnx_to_torch.quantized import saturated
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.tensors import dtype_of, torch_dtype, typed
from passes.onnx_to_torch.values import Carried
from passes.torch_dtypes import logical_dtype, torch_dtype_of


@op("QuantizeLinear", 10, 13, 19, 21, 23, 24, 25, 28, carried=(2,))
def quantize(
    call: Call, data: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor | Carried | None = None
) -> torch.Tensor | Carried:
    """Quotient in the scale's element type or `precision`, rounded, plus the zero point, saturated."""
    target = _quantized_type(call, zero_point)
    # Integers divide in float64, and by powers of two in 8 bits all data can be divided in float32.
    precision = scale.dtype if scale.is_floating_point() else torch.float64
    precision = torch.float32 if scale.dtype.itemsize == 1 else precision
    if call.attr_int("precision", 0):
        precision = torch_dtype(call.attr_int("precision"), call.label)
    ratio = data.to(precision) / _spread(call, scale, data).to(precision)
    if target is DType.FLOAT4_E2M1FN:
        return encoded(ratio, target)
    if target.is_float:
        return _to_float8(call, ratio, torch_dtype_of(target))
    shift = None if zero_point is None else _spread(call, decoded(zero_point), data)
    return typed(saturated(ratio, shift, target), target)


def _quantized_type(call: Call, zero_point: torch.Tensor | Carried | None) -> DType:
    if zero_point is not None:
        return zero_point.dtype if isinstance(zero_point, Carried) else logical_dtype(zero_point.dtype)
    named = call.attr_int("output_dtype", 0)
    return dtype_of(named, call.label) if named else DType.UINT8


def _to_float8(call: Call, ratio: torch.Tensor, target: torch.dtype) -> torch.Tensor:
    # A zero point of these types is 0 by the specification.
    if not call.attr_int("saturate", 1):
        call.unsupported("saturate=0 for float8", "values that overflow would become NaN or infinite")
    greatest = torch.finfo(target).max
    return ratio.to(torch.float32).clamp(-greatest, greatest).to(target)


@op("DequantizeLinear", 10, 13, 19, 21, 23, 24, 25, 28, carried=(0, 2))
def dequantize(
    call: Call, given: torch.Tensor | Carried, scale: torch.Tensor, zero_point: torch.Tensor | Carried | None = None
) -> torch.Tensor:
    """(data - zero_point) * scale, in float32, as the scale's element type or `output_dtype`."""
    target = scale.dtype
    if call.attr_int("output_dtype", 0):
        target = torch_dtype(call.attr_int("output_dtype"), call.label)
    data = decoded(given)
    wide = data.to(torch.float32)
    if zero_point is not None:
        wide = wide - _spread(call, decoded(zero_point), data).to(torch.float32)
    return (wide * _spread(call, scale, data).to(torch.float32)).to(target)


def _spread(call: Call, parameter: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    """A scale or zero point so that it broadcasts: one, one for each index of an axis, or one a block.

    Version 10 has one for the whole tensor only, and no axis.
    """
    if parameter.dim() == 0 or data.dim() == 0 or (parameter.dim() == 1 and data.dim() == 1):
        return parameter.reshape(()) if data.dim() == 0 else parameter
    axis = call.attr_int("axis", 0 if call.since == 10 else 1) % data.dim()
    if parameter.dim() == 1:
        return parameter.reshape([-1 if i == axis else 1 for i in range(data.dim())])
    block = call.attr_int("block_size", 0)
    if not block:
        call.unsupported(f"a scale of rank {parameter.dim()} without block_size")
    return parameter.repeat_interleave(block, axis).narrow(axis, 0, data.shape[axis])


@op("DynamicQuantizeLinear", 11)
def dynamic_quantize(call: Call, data: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """To uint8 with the scale and zero point of the data's own range, which is made to include 0."""
    low, high = torch.clamp(torch.min(data), max=0.0), torch.clamp(torch.max(data), min=0.0)
    # Where everything is 0 any scale will do that does not divide by 0.
    scale = torch.where(high == low, 1.0, high - low) / 255.0
    zero_point = torch.round(torch.clamp(-low / scale, 0.0, 255.0)).to(torch.uint8)
    return saturated(data / scale, zero_point, DType.UINT8), scale, zero_point
