"""Operators of com.microsoft, which ONNX Runtime defines: activations, products and normalizations."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from tests.support.onnx_ops import Array
from tests.support.onnxruntime_models import answers
from tests.support.onnxruntime_ops import DOMAIN, contrib_model, present
from tests.support.strategies.elementwise import COEFFICIENTS
from tests.support.strategies.node import BIT, Node
from tests.support.strategies.normalization import EPSILON
from tests.support.strategies.table import draws


def as_onnxruntime(
    node: Node,
    inputs: Sequence[Array | None],
    constants: Collection[int] = (),
    named: Collection[int] | None = None,
    tolerance: float = 2e-5,
) -> Sequence[Array | None]:
    """The node in a model beside operators of ONNX, and ONNX Runtime's answer for it."""
    given = list(inputs)
    while given[-1] is None:
        given.pop()
    kept = [i for i in constants if i < len(given) and given[i] is not None]
    node.whole = contrib_model(node.op, given, node.attributes, node.outputs, kept, node.domain, named)
    arrays = present(given, kept)
    node.expected = answers(node.whole, arrays)
    node.tolerance = tolerance
    return arrays


@draws("Gelu", "QuickGelu", domain=DOMAIN)
def gelu(node: Node) -> Sequence[Array | None]:
    if node.op == "QuickGelu":
        node.attribute("alpha", COEFFICIENTS)
    return as_onnxruntime(node, [node.array(node.shape(least=1), np.float32)])


@draws("BiasGelu", "FastGelu", domain=DOMAIN)
def gelu_of_sum(node: Node) -> Sequence[Array | None]:
    data = node.array(node.shape(least=1), np.float32)
    bias = node.array(data.shape[-1:], np.float32)
    return as_onnxruntime(node, [data, bias if node.op == "BiasGelu" or node.bit() else None])


@draws("BiasAdd", domain=DOMAIN)
def bias_add(node: Node) -> Sequence[Array | None]:
    """By numpy: ONNX Runtime has it on GPUs only."""
    data = node.array(node.shape(least=3, most=3), np.float32)
    bias, skip = node.array(data.shape[-1:], np.float32), node.array(data.shape, np.float32)
    node.expected = [data + bias + skip]
    return [data, bias, skip]


@draws("FusedMatMul", domain=DOMAIN)
def fused_matmul(node: Node) -> Sequence[Array | None]:
    rows, inner, columns = (node.size() for _ in range(3))
    node.attribute("alpha", COEFFICIENTS)
    swapped = {name: node.attribute(name, BIT) for name in ("transA", "transB")}
    batch = node.shape(most=1)
    a = node.array((*batch, inner, rows) if swapped["transA"] else (*batch, rows, inner), np.float32)
    b = node.array((*batch, columns, inner) if swapped["transB"] else (*batch, inner, columns), np.float32)
    return as_onnxruntime(node, [a, b])


@draws("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=DOMAIN)
def skip_normalization(node: Node) -> Sequence[Array | None]:
    """Of a sum, which may be an output too."""
    node.attribute("epsilon", EPSILON)
    shape = node.shape(least=3, most=3, smallest=2)
    parameters = [node.array(shape[-1:], np.float32) for _ in range(3)]
    inputs: list[Array | None] = [node.array(shape, np.float32), node.array(shape, np.float32), parameters[0]]
    if node.op == "SkipLayerNormalization":
        inputs.append(parameters[1] if node.bit() else None)
    inputs.append(parameters[2] if node.bit() else None)
    node.outputs = node.choice(1, 4)
    return as_onnxruntime(node, inputs, named=[0, 3][: node.outputs])


@draws("SimplifiedLayerNormalization")
def simplified_normalization(node: Node) -> Sequence[Array | None]:
    node.attribute("epsilon", EPSILON)
    node.set("axis", -1)
    shape = node.shape(least=2, smallest=2)
    return as_onnxruntime(node, [node.array(shape, np.float32), node.array(shape[-1:], np.float32)])


@draws("EmbedLayerNormalization", domain=DOMAIN)
def embeddings(node: Node) -> Sequence[Array | None]:
    node.attribute("epsilon", EPSILON)
    batch, length, width = node.size(1, 2), node.size(1, 5), 8
    segments = node.bit()
    tokens = node.array((batch, length), np.int32, 0, 9)
    kinds = node.array((batch, length), np.int32, 0, 1) if segments else None
    tables = [node.array((rows, width), np.float32) for rows in (10, 7)]
    kind_table = node.array((2, width), np.float32) if segments else None
    scale, shift = (node.array((width,), np.float32) for _ in range(2))
    ends = node.array((batch, 1), np.int32, 1, length)
    mask = (np.arange(length) < ends).astype(np.int32) if node.bit() else None
    node.outputs = 3
    return as_onnxruntime(node, [tokens, kinds, *tables, kind_table, scale, shift, mask])
