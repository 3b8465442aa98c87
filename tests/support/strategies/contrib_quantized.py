"""Quantised operators of com.microsoft. Scales are powers of two, so that results are exact, and ties are ties."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.support.onnx_ops import Array
from tests.support.onnxruntime_ops import DOMAIN
from tests.support.strategies.contrib import as_onnxruntime
from tests.support.strategies.elementwise import COEFFICIENTS
from tests.support.strategies.node import BIT, Node
from tests.support.strategies.table import draws


def weight(node: Node, shape: Sequence[int]) -> Array:
    """Codes of 7 bits: on a processor without dot products of bytes ONNX Runtime adds two products of uint8 and int8 in
    16 bits, which hold 2 x 255 x 64 and not much more."""
    return node.array(shape, np.int8, -64, 63)


def scale(node: Node, shape: Sequence[int] = ()) -> Array:
    return np.asarray(np.array([1 / 64, 1 / 32, 1 / 16])[node.array(shape, np.int64, 0, 2)]).astype(np.float32)


def operand(node: Node, shape: Sequence[int], dtype: str) -> list[Array]:
    """Data, scale and zero point."""
    low, high = (0, 255) if dtype == "uint8" else (-128, 127)
    return [node.array(shape, dtype, low, high), scale(node), node.array((), dtype, low // 8, high // 8)]


@draws("QLinearAdd", "QLinearMul", domain=DOMAIN)
def binary(node: Node) -> Sequence[Array | None]:
    dtype, shape = node.choice("uint8", "int8"), node.shape(least=1)
    a, b, result = (operand(node, shape, dtype) for _ in range(3))
    return as_onnxruntime(node, [*a, *b, *result[1:]], tolerance=0)


@draws("QLinearWhere", domain=DOMAIN)
def where(node: Node) -> Sequence[Array | None]:
    dtype, shape = node.choice("uint8", "int8"), node.shape(least=1)
    a, b, result = (operand(node, shape, dtype) for _ in range(3))
    return as_onnxruntime(node, [node.array(shape, bool), *a, *b, *result[1:]], tolerance=0)


@draws("QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax", domain=DOMAIN)
def unary(node: Node) -> Sequence[Array | None]:
    """Between two integers the result may go either way: it is not exact."""
    dtype = node.choice("uint8", "int8")
    result = operand(node, (), dtype)[1:]
    if node.op == "QLinearLeakyRelu":
        node.attribute("alpha", COEFFICIENTS)
    if node.op == "QLinearSoftmax":
        node.attributes |= {"axis": -1, "opset": 13}
        result = [np.array(1 / 256, np.float32), np.array(0 if dtype == "uint8" else -128, dtype)]
    data = operand(node, node.shape(least=1, most=2, smallest=2), dtype)
    return as_onnxruntime(node, [*data, *result], (1, 2, 3, 4), tolerance=0)


@draws("QLinearGlobalAveragePool", domain=DOMAIN)
def global_average_pool(node: Node) -> Sequence[Array | None]:
    dtype = node.choice("uint8", "int8")
    data = operand(node, node.shape(least=4, most=4), dtype)
    return as_onnxruntime(node, [*data, *operand(node, (), dtype)[1:]], tolerance=0)


@draws("QLinearConcat", domain=DOMAIN)
def concat(node: Node) -> Sequence[Array | None]:
    dtype, rows = node.choice("uint8", "int8"), node.size()
    node.set("axis", 1)
    parts = [operand(node, (rows, node.size()), dtype) for _ in range(node.size(1, 3))]
    inputs = [*operand(node, (), dtype)[1:], *(array for part in parts for array in part)]
    return as_onnxruntime(node, inputs, [i for i in range(len(inputs)) if i % 3 != 2], tolerance=0)


@draws("QGemm", domain=DOMAIN)
def gemm(node: Node) -> Sequence[Array | None]:
    rows, inner, columns = (node.size() for _ in range(3))
    node.attribute("alpha", COEFFICIENTS)
    swapped = {name: node.attribute(name, BIT) for name in ("transA", "transB")}
    a = operand(node, (inner, rows) if swapped["transA"] else (rows, inner), "uint8")
    each = node.choice((), (columns,))
    b = [
        weight(node, (columns, inner) if swapped["transB"] else (inner, columns)),
        scale(node, each),
        node.array(each, np.int8, -9, 9),
    ]
    bias = node.array((columns,), np.int32, -900, 900) if node.bit() else None
    inputs: list[Array | None] = [*a, *b, bias]
    requantized = node.bit()
    if requantized:
        inputs += operand(node, (), "uint8")[1:]
    constants = (1, 2, 4, 5, 6, 7, 8)
    return as_onnxruntime(node, inputs, constants, tolerance=0 if requantized else 1e-4)


@draws("DynamicQuantizeMatMul", "MatMulIntegerToFloat", domain=DOMAIN)
def scaled_matmul(node: Node) -> Sequence[Array | None]:
    rows, inner, columns = (node.size(1, 8) for _ in range(3))
    each = node.choice((), (columns,))
    b, b_zero = weight(node, (inner, columns)), node.array(each, np.int8, -9, 9)
    bias = node.array((columns,), np.float32) if node.bit() else None
    if node.op == "DynamicQuantizeMatMul":
        inputs = [node.array((rows, inner), np.float32), b, scale(node, each), b_zero, bias]
        return as_onnxruntime(node, inputs, (1, 2, 3, 4), tolerance=1e-4)
    a, a_scale, a_zero = operand(node, (rows, inner), "uint8")
    return as_onnxruntime(node, [a, b, a_scale, scale(node, each), a_zero, b_zero, bias], tolerance=1e-4)


@draws("MatMulNBits", domain=DOMAIN)
def matmul_of_few_bits(node: Node) -> Sequence[Array | None]:
    bits, rows, block, columns = node.choice(2, 4, 8), node.size(1, 6), 16, node.choice(16, 32, 40)
    blocks = -(-columns // block)
    kind = node.choice("none", "packed", *(["float"] if bits < 8 else []))
    zeros = None
    if kind == "packed":
        zeros = node.array((rows * -(-blocks * bits // 8),), np.uint8, 0, 255)
    if kind == "float":
        zeros = node.array((rows * blocks,), np.float32, 0, (1 << bits) - 1)
    packed = node.array((rows, blocks, block * bits // 8), np.uint8, 0, 255)
    node.attributes |= {"N": rows, "K": columns, "bits": bits, "block_size": block}
    inputs = [node.array((2, columns), np.float32), packed, node.array((rows * blocks,), np.float32, 0.01, 0.1), zeros]
    return as_onnxruntime(node, inputs, (1, 2, 3), tolerance=1e-3)
