"""Two or more tensors whose shapes broadcast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from tests.support.onnx_ops import Array
from tests.support.strategies.node import BIT, Node, is_half
from tests.support.strategies.table import draws

ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
"""What had attributes for broadcasting before version 7."""


def shapes(node: Node, count: int) -> Sequence[tuple[int, ...]]:
    drawn = mutually_broadcastable_shapes(num_shapes=count, max_dims=3, max_side=4)
    return node.draw(drawn).input_shapes


@draws(*ARITHMETIC, "GreaterOrEqual", "LessOrEqual", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
def binary(node: Node) -> Sequence[Array | None]:
    if node.has("broadcast"):
        return _aligned_by_axis(node)
    left, right = shapes(node, 2)
    a, b = _operands(node, left, right)
    if node.op == "Div" and a.dtype.kind in "iu":
        node.expected = [_quotient(a, b)]
    return [a, b]


def _aligned_by_axis(node: Node) -> Sequence[Array | None]:
    """Until version 6 the shape of the second is a run of the first one's axes, by default the last ones."""
    shape = node.shape(1)
    begin, end = sorted([node.size(0, len(shape)), node.size(0, len(shape))])
    if node.attribute("broadcast", BIT) == 0:
        begin, end = 0, len(shape)
    elif end < len(shape) or node.bit():
        end = max(end, begin + 1) if begin < len(shape) else end
        node.set("axis", begin)
    else:
        end = len(shape)
    node.asked.add("axis")
    a, b = _operands(node, shape, shape[begin:end])
    seen = b.reshape([*b.shape, *[1] * (len(shape) - end)])
    if node.op == "Div" and a.dtype.kind in "iu":
        node.expected = [_quotient(a, seen)]
    else:
        node.ask([a, seen], 14)
    return [a, b]


def _operands(node: Node, left: Sequence[int], right: Sequence[int]) -> tuple[Array, Array]:
    edges = node.op not in ("Pow",)
    if node.op == "Pow":
        # Roots of negative numbers and reciprocals of integers have no value.
        base = node.tensor(0, left, low=1 if node.dtype(0).kind in "iu" else 0.1)
        whole = "iu" if base.dtype.kind in "iu" else "iuf"
        low = 0 if base.dtype.kind in "iu" or node.dtype(1).kind == "u" else -3
        return base, node.tensor(1, right, low=low, high=3) if whole else base
    a, b = node.tensor(0, left, -99, 99, edges), node.tensor(1, right, -99, 99, edges)
    if node.op == "Div" and b.dtype.kind in "iu":
        b = np.where((b == 0) | (b == np.array(-1).astype(b.dtype)), np.ones_like(b), b)
    return a, b


def _quotient(a: Array, b: Array) -> Array:
    """Rounded toward zero, where the reference evaluator rounds toward minus infinity."""
    down = a // b
    return np.asarray(down + ((down < 0) & (down * b != a)), a.dtype)


@draws("Mod")
def mod(node: Node) -> Sequence[Array | None]:
    left, right = shapes(node, 2)
    a, b = node.tensor(0, left, -99, 99), node.tensor(1, right, -99, 99)
    b = np.where(b == 0, np.full_like(b, 3), b)
    if a.dtype.kind in "iu":
        fmod = node.attribute("fmod", BIT)
    else:
        fmod = 1
        node.set("fmod", 1)
    wide = [x.astype(np.float32) if x.dtype.kind == "V" else x for x in (a, b)]
    node.expected = [np.asarray((np.fmod if fmod else np.mod)(*wide), a.dtype)]
    return [a, b]


@draws("BitShift")
def bit_shift(node: Node) -> Sequence[Array | None]:
    node.attribute("direction", st.sampled_from(["LEFT", "RIGHT"]))
    left, right = shapes(node, 2)
    a = node.tensor(0, left, -99, 99, edges=True)
    return [a, node.tensor(1, right, 0, a.dtype.itemsize * 8 - 1)]


@draws("Max", "Min", "Sum", "Mean")
def variadic(node: Node) -> Sequence[Array | None]:
    """Before version 8 the shapes are equal."""
    count = node.size(1, 3)
    found = shapes(node, count) if node.since >= 8 else [node.shape()] * count
    operands = [node.tensor(0, shape, -99, 99, edges=node.op in ("Max", "Min")) for shape in found]
    if node.op == "Mean":  # the evaluator's takes the first shape for the result's
        wide = [a.astype(np.float64) for a in operands]
        node.expected = [np.asarray(sum(wide) / count).astype(operands[0].dtype)]
        node.tolerance = 0.3 if is_half(operands[0].dtype) else None
    return operands


@draws("Where")
def where(node: Node) -> Sequence[Array | None]:
    return [node.tensor(i, shape, edges=True) for i, shape in enumerate(shapes(node, 3))]
