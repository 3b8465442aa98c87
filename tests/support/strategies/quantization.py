"""To and from integers of few bits, and products of these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx.helper
from hypothesis import strategies as st

from artifacts.dtype import DType
from tests.support.onnx_ops import TOLERANCES, Array, run_op
from tests.support.strategies.makers import output_types
from tests.support.strategies.node import Node, onnx_type
from tests.support.strategies.table import draws
from tests.support.strategies.windows import area_of

SCALES = (0.25, 0.5, 1.0, 2.0)
"""Powers of two: quotients are exact, and ties are ties for everyone."""


def spread(node: Node, shape: Sequence[int]) -> Sequence[int]:
    """The shape of scales and zero points: one, one for each index of an axis, or one a block."""
    node.asked |= {"axis", "block_size"}
    kinds = ["tensor", *(["axis"] if node.has("axis") else []), *(["block"] if node.has("block_size") else [])]
    kind = node.choice(*kinds) if shape else "tensor"
    if kind == "tensor":
        return ()
    axis = node.choice(*range(-len(shape), len(shape)))
    node.attributes["axis"] = axis
    if kind == "axis":
        return shape[axis : axis + 1] if axis != -1 else shape[-1:]
    if len(shape) < 2:
        return shape
    block = node.size(1, 3)
    node.attributes["block_size"] = block
    return [-(-size // block) if i == axis % len(shape) else size for i, size in enumerate(shape)]


@draws("QuantizeLinear")
def quantize(node: Node) -> Sequence[Array | None]:
    shape = node.shape()
    data = node.tensor(0, shape, -300, 300)
    sizes = spread(node, shape)
    scale = _scales(node, 1, sizes)
    node.attribute("saturate", st.just(1))
    node.asked.add("output_dtype")
    target = node.dtype(2)
    zero_point = _zero_point(node, sizes, 2) if node.bit() else None
    if zero_point is None:
        node.set("output_dtype", onnx_type(target))
    # Without a precision the quotient has the scale's type, where the evaluator takes the wider of both.
    precise = node.attribute("precision", st.just(1), absent=0)
    divided = data if precise or scale.dtype.name not in TOLERANCES else data.astype(scale.dtype)
    node.ask([divided, scale, zero_point], node.since, node.attributes)
    return [data, scale, zero_point]


def _zero_point(node: Node, shape: Sequence[int], position: int) -> Array:
    """Of a floating-point type it is 0."""
    dtype = node.dtype(position)
    integer = DType.of(dtype).is_integer
    return node.array(shape, dtype, -9, 9) if integer and dtype != np.int32 else np.zeros(shape, dtype)


@draws("DequantizeLinear")
def dequantize(node: Node) -> Sequence[Array | None]:
    """By numpy: before version 19 the evaluator has none."""
    shape = node.shape()
    data = node.tensor(0, shape, -128, 255)
    sizes = spread(node, shape)
    scale = _scales(node, 1, sizes)
    target = 0
    if node.has("output_dtype"):
        target = node.attribute("output_dtype", output_types(node, "T3").map(onnx_type))
        if scale.dtype.name == "float8_e8m0fnu" and not target:
            node.set("output_dtype", target := 1)
    zero_point = _zero_point(node, sizes, 0) if node.bit() else None
    wide = data.astype(np.float32)
    if zero_point is not None:
        wide = wide - _over(node, zero_point.astype(np.float32), shape)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(target) if target else scale.dtype
    node.expected = [np.asarray(wide * _over(node, scale.astype(np.float32), shape)).astype(dtype)]
    return [data, scale, zero_point]


def _over(node: Node, parameter: Array, shape: Sequence[int]) -> Array:
    """A scale or zero point for each element of data of that shape."""
    if not parameter.ndim:
        return parameter
    axis = node.attributes["axis"] % len(shape)
    if parameter.ndim == 1 and "block_size" not in node.attributes:
        parameter = parameter.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    repeated = np.repeat(parameter, node.attributes.get("block_size", 1), axis)
    return repeated.take(range(min(shape[axis], repeated.shape[axis])), axis)


@draws("DynamicQuantizeLinear")
def dynamic_quantize(node: Node) -> Sequence[Array | None]:
    node.outputs = 3
    low, high = node.choice((-4, 4), (1, 4), (-4, -1), (0, 0))
    return [node.tensor(0, node.shape(least=1), low, high)]


def wide(quantized: Array, zero_point: Array | None) -> Array:
    """What is left after the zero point, float64: exact."""
    return np.asarray(quantized.astype(np.float64) - (0 if zero_point is None else zero_point.astype(np.float64)))


def rounded(real: Array, zero_point: Array) -> Array:
    limits = np.iinfo(zero_point.dtype)
    return np.asarray(np.clip(np.rint(real) + zero_point, limits.min, limits.max), zero_point.dtype)


def _column(parameter: Array) -> Array:
    return parameter[:, None] if parameter.ndim else parameter


@draws("MatMulInteger")
def matmul_integer(node: Node) -> Sequence[Array | None]:
    rows, inner, columns = (node.size() for _ in range(3))
    a = node.tensor(0, (*node.shape(most=1), rows, inner), -128, 255)
    b = node.tensor(1, (inner, columns), -128, 255)
    a_zero = node.tensor(2, node.choice((), (rows,)), -9, 9) if node.bit() else None
    b_zero = node.tensor(3, node.choice((), (columns,)), -9, 9) if node.bit() else None
    by_row = None if a_zero is None else _column(a_zero)
    node.expected = [(wide(a, by_row) @ wide(b, b_zero)).astype(np.int32)]
    return [a, b, a_zero, b_zero]


@draws("QLinearMatMul")
def qlinear_matmul(node: Node) -> Sequence[Array | None]:
    """Of 8-bit integers: float8 is refused, which a test of its own shows."""
    rows, inner, columns = (node.size() for _ in range(3))
    a = node.array((rows, inner), node.dtype(0, "iu"), -128, 255)
    b = node.array((inner, columns), node.dtype(3, "iu"), -128, 255)
    by_row, by_column = node.choice((), (rows,)), node.choice((), (columns,))
    a_scale, b_scale, y_scale = (
        _scales(node, position, sizes) for position, sizes in ((1, by_row), (4, by_column), (6, ()))
    )
    a_zero, b_zero = node.array(by_row, a.dtype, -9, 9), node.array(by_column, b.dtype, -9, 9)
    y_zero = node.array((), node.dtype(7, "iu"), -9, 9)
    factor = _column(a_scale).astype(np.float64) * b_scale / y_scale.astype(np.float64)
    node.expected = [rounded(wide(a, _column(a_zero)) @ wide(b, b_zero) * factor, y_zero)]
    return [a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero]


def _scales(node: Node, position: int, shape: Sequence[int]) -> Array:
    dtype = node.dtype(position, "ifV")
    chosen = np.array(SCALES)[node.array(shape, np.int64, 2 if dtype.kind == "i" else 0, 3)]
    return np.asarray(chosen).astype(dtype)


@draws("ConvInteger", "QLinearConv")
def convolution(node: Node) -> Sequence[Array | None]:
    rank, group = node.size(1, 2), node.attribute("group", st.sampled_from([1, 2]))
    area = area_of(node, rank, capped=False)
    if node.bit():
        node.set("kernel_shape", area.kernel)
    quantized = node.op == "QLinearConv"
    x = node.tensor(0, (1, 2, *(node.size(5, 6) for _ in range(rank))), -128, 255)
    w = node.tensor(3 if quantized else 1, (4, 2 // group, *area.kernel), -128, 255)
    each = node.choice((), (4,))
    x_zero, w_zero = node.array((), x.dtype, -9, 9), node.array(each, w.dtype, -9, 9)
    by_output = w_zero.reshape(-1, *[1] * (rank + 1)) if each else w_zero
    attributes = {"strides": area.strides, "dilations": area.dilations, "group": group}
    attributes["pads"] = area.padded(x.shape[2:]).pads
    product = run_op("Conv", [wide(x, x_zero), wide(w, by_output)], 22, attributes=attributes)[0]
    if not quantized:
        node.expected = [np.rint(product).astype(np.int32)]
        return [x, w, x_zero, w_zero]
    bias = node.tensor(8, (4,), -99, 99) if node.bit() else None
    x_scale, w_scale, y_scale = (_scales(node, position, sizes) for position, sizes in ((1, ()), (4, each), (6, ())))
    y_zero = node.tensor(7, (), -9, 9)
    channels = [1, -1, *[1] * rank]
    total = np.rint(product) + (0 if bias is None else bias.reshape(channels))
    factor = x_scale.astype(np.float64) * (w_scale.reshape(channels) if each else w_scale) / y_scale
    node.expected = [rounded(total * factor, y_zero)]
    return [x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias]
