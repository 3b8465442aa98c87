"""Products of matrices."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.broadcasting import shapes
from tests.support.strategies.node import BIT, Node
from tests.support.strategies.table import draws

EQUATIONS = {
    "bij,bjk->bik": ("bij", "bjk"),
    "ij->ji": ("ij",),
    "ij->i": ("ij",),
    "ii->i": ("ii",),
    "...ii->...i": ("bii",),
    "i,i": ("i", "i"),
    "Bi, Bj -> Bij": ("bi", "bj"),
    "...ij,...jk": ("bij", "bjk"),
    ",->": ("", ""),
    "ij,jk,kl->il": ("ij", "jk", "kl"),
}
"""Equations, and the axes of the operands by letters that stand for sizes."""


def matrices(node: Node) -> tuple[Sequence[int], Sequence[int]]:
    """Shapes of two operands of a product, batches that broadcast included; each may be a vector."""
    rows, inner, columns = (node.size() for _ in range(3))
    left, right = shapes(node, 2)
    if node.bit():
        left, right = left[:1], right[:1]
    a, b = [(*left[-1:], rows, inner), (*right[-1:], inner, columns)]
    kind = node.choice("matrices", "matrices", "left vector", "right vector", "vectors")
    if kind in ("left vector", "vectors"):
        a = (inner,)
    if kind in ("right vector", "vectors"):
        b = (inner,)
    return a, b


@draws("MatMul")
def matmul(node: Node) -> Sequence[Array | None]:
    return [node.tensor(i, shape) for i, shape in enumerate(matrices(node))]


@draws("Gemm")
def gemm(node: Node) -> Sequence[Array | None]:
    """Until version 6 the third operand broadcasts on request. On integers factors are whole numbers."""
    whole = node.dtype(0).kind in "iu"
    factors = st.sampled_from([1.0, 2.0] if whole else [0.5, 1.0, 2.5])
    rows, inner, columns = (node.size() for _ in range(3))
    values = {name: node.attribute(name, factors) for name in ("alpha", "beta")}
    swapped = {name: node.attribute(name, BIT) for name in ("transA", "transB")}
    a = node.tensor(0, (inner, rows) if swapped["transA"] else (rows, inner))
    b = node.tensor(1, (columns, inner) if swapped["transB"] else (inner, columns))
    shape = node.choice((columns,), (1, columns), (rows, 1), (rows, columns), (1,), ())
    if node.has("broadcast"):
        if not node.attribute("broadcast", BIT):
            shape = (rows, columns)
        elif shape == (rows, 1):
            shape = (columns,)
    c = node.tensor(2, shape) if node.since < 11 or node.bit() else None
    product = (a.T if swapped["transA"] else a) @ (b.T if swapped["transB"] else b)
    total = values["alpha"] * product + (0 if c is None else values["beta"] * c)
    node.expected = [total.astype(a.dtype)]
    return [a, b, c]


@draws("Einsum")
def einsum(node: Node) -> Sequence[Array | None]:
    equation = node.choice(*EQUATIONS)
    node.set("equation", equation)
    sizes = {letter: node.size() for letter in "bijkl"}
    return [node.tensor(0, [sizes[letter] for letter in axes]) for axes in EQUATIONS[equation]]
