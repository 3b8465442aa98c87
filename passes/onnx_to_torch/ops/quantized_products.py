"""Matrix products and convolutions of 8-bit integers."""

from __future__ import annotations

import math

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.convolve import convolve
from passes.onnx_to_torch.quantized import saturated
from passes.onnx_to_torch.registry import op
from passes.torch_dtypes import logical_dtype

_EXACT = 1 << 24
_NINE_BITS = 255


@op("MatMulInteger", 10)
def matmul_integer(
    call: Call,
    a: torch.Tensor,
    b: torch.Tensor,
    a_zero_point: torch.Tensor | None = None,
    b_zero_point: torch.Tensor | None = None,
) -> torch.Tensor:
    """(a - a_zero_point) @ (b - b_zero_point) in int32."""
    by_row = None if a_zero_point is None else _by_row(a_zero_point)
    return torch.matmul(_centred(a, by_row), _centred(b, b_zero_point))


@op("ConvInteger", 10)
def convolution_integer(
    call: Call,
    data: torch.Tensor,
    weight: torch.Tensor,
    data_zero_point: torch.Tensor | None = None,
    weight_zero_point: torch.Tensor | None = None,
) -> torch.Tensor:
    """The convolution of what is left after the zero points, in int32; so padding means the zero point."""
    return _convolved(call, _centred(data, data_zero_point), _centred(weight, _by_output(weight_zero_point, weight)))


@op("QLinearMatMul", 10, 21)
def qlinear_matmul(call: Call, *operands: torch.Tensor) -> torch.Tensor:
    """Operands a, b and result y, each with scale and zero point: scalars, or one for each row or column."""
    a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point = operands
    if a.is_floating_point() or b.is_floating_point() or y_zero_point.is_floating_point():
        call.unsupported("float8 operands", "only int8 and uint8 are multiplied")
    product = torch.matmul(_centred(a, _by_row(a_zero_point)), _centred(b, b_zero_point))
    return _requantized(product, _by_row(a_scale) * b_scale, _by_row(y_scale), _by_row(y_zero_point))


@op("QLinearConv", 10)
def qlinear_convolution(call: Call, *operands: torch.Tensor) -> torch.Tensor:
    """Data x, weight w and result y, each with scale and zero point; then perhaps an int32 bias.

    The weight's scale and zero point are scalars, or one for each output channel.
    """
    x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, *bias = operands
    product = _convolved(call, _centred(x, x_zero_point), _centred(w, _by_output(w_zero_point, w)), *bias)
    channel_scale = w_scale if w_scale.dim() == 0 else w_scale.reshape(-1, *[1] * (x.dim() - 2))
    return _requantized(product, x_scale * channel_scale, y_scale, y_zero_point)


def _centred(quantized: torch.Tensor, zero_point: torch.Tensor | None) -> torch.Tensor:
    wide = quantized.to(torch.int32)
    return wide if zero_point is None else wide - zero_point.to(torch.int32)


def _convolved(call: Call, data: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """A convolution of int32 of at most 9 bits, in int32.

    Neither torch nor ONNX Runtime convolves them, so it is done in float32, which holds integers up to 2^24 exactly:
    the weight is cut into digits so small that no sum of products leaves these.
    """
    products = math.prod(weight.shape[1:])
    largest = _EXACT // (_NINE_BITS * products)
    if largest < 2:
        call.unsupported(f"{products} products in one sum", "more than float32 adds up exactly")
    base = 1 << (largest.bit_length() - 1)
    rest, bound = weight.to(torch.float32), _NINE_BITS
    digits = []
    while bound > largest:
        higher = torch.floor(rest / base)
        digits.append(rest - higher * base)
        rest, bound = higher, bound // base + 1
    # Rounded, because a kernel may take a way through fractions (Winograd's, say).
    parts = [torch.round(convolve(call, data.to(torch.float32), digit)) for digit in (*digits, rest)]
    total = parts[0].to(torch.int32)
    for place, part in enumerate(parts[1:], 1):
        total = total + part.to(torch.int32) * base**place
    return total if bias is None else total + bias.to(torch.int32).reshape(-1, *[1] * (data.dim() - 2))


def _requantized(
    product: torch.Tensor, operand_scale: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor
) -> torch.Tensor:
    factor = operand_scale.to(torch.float32) / scale.to(torch.float32)
    return saturated(product.to(torch.float32) * factor, zero_point, logical_dtype(zero_point.dtype))


def _by_row(parameter: torch.Tensor) -> torch.Tensor:
    """A vector with one element for each row [M] as [M, 1]; other ranks broadcast as they are."""
    return parameter.unsqueeze(1) if parameter.dim() == 1 else parameter


def _by_output(parameter: torch.Tensor | None, weight: torch.Tensor) -> torch.Tensor | None:
    """A vector with one element for each output channel, against `weight` [M, C / group, kernel...]."""
    if parameter is None or parameter.dim() == 0:
        return parameter
    return parameter.reshape(-1, *[1] * (weight.dim() - 1))
