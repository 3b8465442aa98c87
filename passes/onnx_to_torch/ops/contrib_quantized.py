"""com.microsoft: quantized operators that ONNX Runtime's quantizer writes, and weights of 2 to 8 bits in blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch

from artifacts.dtype import DType
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.quantized import saturated
from passes.onnx_to_torch.registry import op
from passes.torch_dtypes import logical_dtype

_DOMAIN = "com.microsoft"


@op("QLinearAdd", 1, domain=_DOMAIN)
def qlinear_add(_: Call, *operands: torch.Tensor) -> torch.Tensor:
    return _of_two(torch.add, *operands)


@op("QLinearMul", 1, domain=_DOMAIN)
def qlinear_mul(_: Call, *operands: torch.Tensor) -> torch.Tensor:
    return _of_two(torch.mul, *operands)


@op("QLinearSigmoid", 1, domain=_DOMAIN)
def qlinear_sigmoid(_: Call, *operands: torch.Tensor | None) -> torch.Tensor:
    return _of_one(torch.sigmoid, *operands)


@op("QLinearLeakyRelu", 1, domain=_DOMAIN)
def qlinear_leaky_relu(call: Call, *operands: torch.Tensor | None) -> torch.Tensor:
    slope = call.attr_float("alpha", 0.01)
    return _of_one(lambda data: torch.where(data >= 0, data, data * slope), *operands)


@op("QLinearSoftmax", 1, domain=_DOMAIN)
def qlinear_softmax(call: Call, *operands: torch.Tensor | None) -> torch.Tensor:
    axis = call.attr_int("axis", -1)
    if call.attr_int("opset", 0) < 13 and operands[0] is not None and axis not in (-1, operands[0].dim() - 1):
        call.unsupported("Softmax of before operator set 13 over several axes")
    return _of_one(lambda data: torch.softmax(data, axis), *operands)


@op("QLinearGlobalAveragePool", 1, domain=_DOMAIN)
def qlinear_global_average_pool(call: Call, *operands: torch.Tensor) -> torch.Tensor:
    first = 1 if call.attr_int("channels_last", 0) else 2

    def pool(data: torch.Tensor) -> torch.Tensor:
        last = data.dim() - 1 if first == 1 else data.dim()
        return data.mean(list(range(first, last)), keepdim=True)

    return _of_one(pool, *operands)


@op("QLinearConcat", 1, domain=_DOMAIN)
def qlinear_concat(call: Call, scale: torch.Tensor, zero_point: torch.Tensor, *parts: torch.Tensor) -> torch.Tensor:
    """`parts` are data, scale and zero point of each input in turn."""
    triples = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return _quantized(torch.cat([_real(*triple) for triple in triples], call.attr_int("axis")), scale, zero_point)


@op("QLinearWhere", 1, domain=_DOMAIN)
def qlinear_where(_: Call, condition: torch.Tensor, *operands: torch.Tensor) -> torch.Tensor:
    return _quantized(torch.where(condition, _real(*operands[:3]), _real(*operands[3:6])), *operands[6:8])


@op("QGemm", 1, domain=_DOMAIN)
def quantized_gemm(call: Call, *operands: torch.Tensor | None) -> torch.Tensor:
    """Matrices a and b, each with scale and zero point, an int32 c in the scale of their product, then the result's.

    b's scale and zero point are scalars, or one for each column. Without a scale of its own the result is float32.
    """
    a, a_scale, a_zero_point, b, b_scale, b_zero_point, c, scale, zero_point = (*operands, *[None] * 3)[:9]
    assert a is not None
    assert b is not None
    assert a_scale is not None
    assert b_scale is not None
    left, right = _centred(a, a_zero_point), b.to(torch.int32)
    left = left.t() if call.attr_int("transA", 0) else left
    right = _centred(right.t() if call.attr_int("transB", 0) else right, b_zero_point)
    product = torch.matmul(left, right) if c is None else torch.matmul(left, right) + c
    result = product.to(torch.float32) * (call.attr_float("alpha", 1.0) * a_scale * b_scale)
    if scale is None:
        return result
    return _quantized(result, scale, torch.zeros((), dtype=a.dtype) if zero_point is None else zero_point)


@op("DynamicQuantizeMatMul", 1, domain=_DOMAIN)
def dynamic_quantize_matmul(
    _: Call,
    a: torch.Tensor,
    b: torch.Tensor,
    b_scale: torch.Tensor,
    b_zero_point: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """`a` is quantized to uint8 by its own range, as DynamicQuantizeLinear does, for an exact product of integers."""
    low, high = torch.clamp(a.min(), max=0.0), torch.clamp(a.max(), min=0.0)
    scale = torch.where(high == low, 1.0, (high - low) / 255.0)
    zero_point = torch.round(torch.clamp(-low / scale, 0.0, 255.0)).to(torch.uint8)
    quantized = saturated(a / scale, zero_point, DType.UINT8)
    return _product(quantized, b, scale * b_scale, zero_point, b_zero_point, bias)


@op("MatMulIntegerToFloat", 1, domain=_DOMAIN)
def matmul_integer_to_float(
    _: Call,
    a: torch.Tensor,
    b: torch.Tensor,
    a_scale: torch.Tensor,
    b_scale: torch.Tensor,
    a_zero_point: torch.Tensor | None = None,
    b_zero_point: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    return _product(a, b, a_scale * b_scale, a_zero_point, b_zero_point, bias)


@op("MatMulNBits", 1, domain=_DOMAIN)
def matmul_nbits(
    call: Call,
    a: torch.Tensor,
    packed: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor | None = None,
    order: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """`a` [..., K] times the transpose of weights [N, K], packed as [N, blocks, bytes], low bits first.

    Each block of `block_size` weights has a scale; a zero point too, packed the same way or of the scale's type,
    which otherwise is the middle of the range.
    """
    bits, block = call.attr_int("bits", 4), call.attr_int("block_size")
    rows, columns = call.attr_int("N"), call.attr_int("K")
    if order is not None or call.attr_int("weight_prepacked", 0) or bits not in (2, 4, 8):
        call.unsupported("reordered groups, prepacked weights, or other widths than 2, 4 and 8 bits")
    blocks = -(-columns // block)
    codes = _unpacked(packed.reshape(rows, blocks, -1), bits).to(a.dtype)
    if zero_points is None:
        shifted = codes - float(1 << (bits - 1))
    elif zero_points.is_floating_point():
        shifted = codes - zero_points.reshape(rows, blocks, 1).to(a.dtype)
    else:
        shifted = codes - _unpacked(zero_points.reshape(rows, -1), bits)[:, :blocks].unsqueeze(-1).to(a.dtype)
    weights = (shifted * scales.reshape(rows, blocks, 1).to(a.dtype)).flatten(1)[:, :columns]
    return torch.nn.functional.linear(a, weights, bias)


def _unpacked(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes of some bits, float32 [..., n * 8 / bits], from bytes [..., n].

    In floating point, exactly: runtimes have few operators on bytes, and the codes are wanted as floats.
    """
    wide = packed.to(torch.float32)
    if bits == 8:
        return wide
    above = [torch.floor(wide / (1 << shift)) for shift in range(0, 8, bits)] + [torch.zeros_like(wide)]
    parts = [low - high * (1 << bits) for low, high in itertools.pairwise(above)]
    return torch.stack(parts, -1).flatten(-2)


def _product(
    a: torch.Tensor,
    b: torch.Tensor,
    scale: torch.Tensor,
    a_zero_point: torch.Tensor | None,
    b_zero_point: torch.Tensor | None,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    result = torch.matmul(_centred(a, a_zero_point), _centred(b, b_zero_point)).to(torch.float32) * scale
    return result if bias is None else result + bias


def _centred(data: torch.Tensor, zero_point: torch.Tensor | None) -> torch.Tensor:
    wide = data.to(torch.int32)
    return wide if zero_point is None else wide - zero_point.to(torch.int32)


def _of_two(function: Callable[..., torch.Tensor], *operands: torch.Tensor) -> torch.Tensor:
    """Operands a and b and the result c, each with scale and zero point.

    ONNX Runtime adds the zero point before it rounds, which tells where the result is a tie.
    """
    scale, zero_point = operands[6:8]
    result = function(_real(*operands[:3]), _real(*operands[3:6]))
    return saturated(result / scale + zero_point.to(torch.float32), None, logical_dtype(zero_point.dtype))


def _of_one(function: Callable[[torch.Tensor], torch.Tensor], *operands: torch.Tensor | None) -> torch.Tensor:
    data, scale, zero_point, result_scale, *result_zero_point = operands
    assert data is not None
    assert scale is not None
    assert result_scale is not None
    zero = result_zero_point[0] if result_zero_point else None
    return _quantized(
        function(_real(data, scale, zero_point)),
        result_scale,
        torch.zeros((), dtype=data.dtype) if zero is None else zero,
    )


def _real(data: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor | None) -> torch.Tensor:
    wide = data.to(torch.float32)
    return (wide if zero_point is None else wide - zero_point.to(torch.float32)) * scale


def _quantized(data: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
    return saturated(data / scale, zero_point, logical_dtype(zero_point.dtype))
