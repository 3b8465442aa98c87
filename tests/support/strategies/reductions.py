"""What goes over the elements of one axis, or of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.node import BIT, Node, is_half
from tests.support.strategies.table import draws

REDUCTIONS = ("Sum", "Mean", "Max", "Min", "Prod", "SumSquare", "L1", "L2", "LogSum", "LogSumExp")


@draws(*(f"Reduce{name}" for name in REDUCTIONS))
def reduce(node: Node) -> Sequence[Array | None]:
    """Positive elements: of some sums there is a logarithm, and the mean of integers is rounded."""
    # The reference fails on a single element without axes.
    shape = node.shape(least=1)
    data = node.tensor(0, shape, low=0.1, edges=node.op in ("ReduceMax", "ReduceMin"))
    node.attribute("keepdims", BIT)
    first = 0 if node.since == 1 else -len(shape)
    by_axis = st.integers(first, len(shape) - 1)
    axes = st.lists(by_axis, min_size=1, max_size=3, unique_by=lambda axis: axis % len(shape))
    if node.has("axes"):
        node.attribute("axes", axes)
        inputs: list[Array | None] = [data]
    else:
        node.attribute("noop_with_empty_axes", BIT)
        found = node.draw(st.none() | st.just([]) | axes)
        inputs = [data, None if found is None else node.ints(*found)]
    if data.dtype.kind in "iu" and node.op not in ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd"):
        # The evaluator has no logarithms of integers, and widens sums; those drawn are exact in float64.
        node.ask([data.astype(np.float64), *inputs[1:]], node.since, node.attributes)
        assert node.expected is not None
        node.expected = [a.astype(data.dtype) for a in node.expected]
    if node.op == "ReduceProd" and is_half(data.dtype):
        node.tolerance = 0.3  # each factor is rounded, in any order
    return inputs


@draws("ArgMax", "ArgMin")
def arg_reduce(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1)
    node.attribute("axis", st.integers(0 if node.since < 11 else -len(shape), len(shape) - 1))
    node.attribute("keepdims", BIT)
    node.attribute("select_last_index", BIT)
    return [node.tensor(0, shape)]


@draws("Softmax", "LogSoftmax", "Hardmax")
def softmax(node: Node) -> Sequence[Array | None]:
    """Until version 11 over all axes from the named one on, of a tensor that was seen as a matrix."""
    shape = node.shape(least=1 if node.since >= 13 else 2)
    data = node.tensor(0, shape)
    axis = node.attribute("axis", st.integers(-len(shape) if node.since >= 11 else 0, len(shape) - 1))
    if node.since < 13:
        axis %= len(shape)
        matrix = data.reshape(int(np.prod(shape[:axis])), -1)
        node.ask([matrix], 13, {"axis": 1})
        assert node.expected is not None
        node.expected = [node.expected[0].reshape(shape)]
    return [data]


@draws("CumSum", "CumProd")
def cumulative(node: Node) -> Sequence[Array | None]:
    node.attribute("exclusive", BIT)
    node.attribute("reverse", BIT)
    shape = node.shape(least=1)
    return [node.tensor(0, shape), np.array(node.axis(len(shape)), node.dtype(1))]


@draws("TopK")
def top_k(node: Node) -> Sequence[Array | None]:
    node.outputs = 2
    shape = node.shape(least=1)
    axis = node.attribute("axis", st.integers(0 if node.since < 10 else -len(shape), len(shape) - 1))
    node.attribute("largest", BIT)
    node.attribute("sorted", st.just(1))
    count = node.size(1, shape[axis])
    data = node.tensor(0, shape)
    if node.has("k"):
        node.set("k", count)
        return [data]
    return [data, node.ints(count)]


@draws("LpNormalization")
def lp_normalization(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1)
    axis = node.attribute("axis", st.integers(-len(shape), len(shape) - 1))
    order = node.attribute("p", st.sampled_from([1, 2]))
    data = node.tensor(0, shape)
    # The evaluator takes no magnitudes.
    wide = data.astype(np.float64)
    node.expected = [(wide / np.linalg.norm(wide, order, axis, keepdims=True)).astype(data.dtype)]
    return [data]


@draws("Det")
def det(node: Node) -> Sequence[Array | None]:
    side = node.size()
    data = node.tensor(0, (*node.shape(most=2), side, side))
    node.expected = [np.asarray(np.linalg.det(data.astype(np.float64)), data.dtype)]  # of half precision too
    node.tolerance = 0.1 if is_half(data.dtype) else None
    return [data]
