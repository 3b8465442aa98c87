"""`unspool::quantize` and its inverses: values in 8 bits by a scale and a zero that are known at compile time.

A product of 8-bit operands is written as one of values that were 8-bit codes a moment ago: quantize, dequantize, and
the product. That is what it means, runs anywhere, and is the form in which runtimes find their 8-bit kernels. Formulas:
QuantizeLinear and DequantizeLinear in the ONNX operator specification.
"""

from __future__ import annotations

import torch

from passes.codes import FORMATS
from passes.torch_dtypes import torch_dtype_of


@torch.library.custom_op("unspool::quantize", mutates_args=())
def quantize(x: torch.Tensor, scale: float, zero_point: int, codes: str = "uint8") -> torch.Tensor:
    """The code of each element: x / scale + zero_point, rounded, kept between the extremes. `x` is float32.

    `codes` names the format, see `passes/codes.py`. Integers are rounded before the zero is added. Ties go to even.
    """
    form = FORMATS[codes]
    steps = torch.round(x / scale) + zero_point if form.dtype.is_integer else x / scale
    return steps.clamp(form.least, form.largest).to(torch_dtype_of(form.dtype))


@quantize.register_fake
def _(x: torch.Tensor, scale: float, zero_point: int, codes: str = "uint8") -> torch.Tensor:  # noqa: ARG001  # of the schema
    return torch.empty_like(x, dtype=torch_dtype_of(FORMATS[codes].dtype))


@torch.library.custom_op("unspool::dequantize", mutates_args=())
def dequantize(codes: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    """The float32 value (code - zero_point) * scale of each code."""
    return (codes.to(torch.float32) - zero_point) * scale


@dequantize.register_fake
def _(codes: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:  # noqa: ARG001  # of the schema
    return torch.empty_like(codes, dtype=torch.float32)


@torch.library.custom_op("unspool::dequantize_channels", mutates_args=())
def dequantize_channels(codes: torch.Tensor, scales: torch.Tensor, axis: int) -> torch.Tensor:
    """The float32 value code * scales[i] of each code, i along `axis`.

    Codes are int8, float8 or int32, scales float32 [n].
    """
    shape = [1] * codes.dim()
    shape[axis] = -1
    return codes.to(torch.float32) * scales.reshape(shape)


@dequantize_channels.register_fake
def _(codes: torch.Tensor, scales: torch.Tensor, axis: int) -> torch.Tensor:  # noqa: ARG001  # of the schema
    return torch.empty_like(codes, dtype=torch.float32)
