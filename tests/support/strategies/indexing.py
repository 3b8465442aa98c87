"""Elements taken from places, put at places, and chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.node import BIT, Node
from tests.support.strategies.table import draws


def positions(node: Node, shape: Sequence[int], size: int, formal: int = 1, negative: bool = True) -> Array:
    """Positions on an axis of that size, some of them counted from its end."""
    return node.array(shape, node.dtype(formal), -size if negative else 0, size - 1)


@draws("Gather")
def gather(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1)
    axis = node.attribute("axis", st.integers(-len(shape), len(shape) - 1))
    return [node.tensor(0, shape), positions(node, node.shape(most=2), shape[axis], negative=node.since >= 11)]


@draws("GatherElements")
def gather_elements(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1)
    axis = node.attribute("axis", st.integers(-len(shape), len(shape) - 1))
    axis %= len(shape)
    taken = [node.size(1, size + (i == axis)) for i, size in enumerate(shape)]
    data, index = node.tensor(0, shape), positions(node, taken, shape[axis])
    seen = data[tuple(slice(None) if i == axis else slice(size) for i, size in enumerate(taken))]
    node.expected = [np.take_along_axis(seen, index.astype(np.int64), axis)]  # the evaluator wants equal sizes
    return [data, index]


@draws("GatherND")
def gather_nd(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1)
    batch = node.attribute("batch_dims", st.integers(0, len(shape) - 1), absent=0)
    depth = node.size(1, len(shape) - batch)
    places = (*shape[:batch], *node.shape(least=0 if batch else 1, most=1))
    return [node.tensor(0, shape), tuples(node, places, shape[batch : batch + depth])]


def tuples(node: Node, places: Sequence[int], sizes: Sequence[int]) -> Array:
    """At each place a position on each of some axes of those sizes, int64 [*places, axes]."""
    return np.stack([node.array(places, np.int64, -size, size - 1) for size in sizes], -1)


@draws("Scatter", "ScatterElements")
def scatter_elements(node: Node) -> Sequence[Array | None]:
    """Without a reduction no element is updated twice: which update is kept is not said."""
    shape = node.shape(least=1)
    axis = node.attribute("axis", st.integers(-len(shape), len(shape) - 1)) % len(shape)
    how = node.attribute("reduction", st.sampled_from(reductions(node)), absent="none")
    taken = [node.size(1, size) for size in shape]
    if how == "none":
        order = np.argsort(node.array((*taken[:axis], shape[axis], *taken[axis + 1 :]), np.float32), axis)
        indices = order.take(range(taken[axis]), axis) - shape[axis] * node.array(taken, bool)
    else:
        indices = node.array(taken, np.int64, -shape[axis], shape[axis] - 1)
    data = node.tensor(0, shape)
    inputs = [data, indices.astype(node.dtype(1)), node.array(taken, data.dtype)]
    if node.op == "Scatter":
        node.ask(inputs, 18, {"axis": axis}, "ScatterElements")
    return inputs


def reductions(node: Node) -> list[str]:
    """What this version combines updates by; booleans are only replaced."""
    numbers = node.dtype(0).kind not in "bc" or node.since < 16
    return ["none", "add", "mul", *(["max", "min"] if node.since >= 18 else [])] if numbers else ["none"]


@draws("ScatterND")
def scatter_nd(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1)
    depth = node.size(1, len(shape))
    how = node.attribute("reduction", st.sampled_from(reductions(node)), absent="none")
    count = node.size(1, 3)
    if how == "none":
        flat = np.argsort(node.array((int(np.prod(shape[:depth])),), np.float32))[:count]
        indices = np.stack(np.unravel_index(flat, shape[:depth]), -1).astype(np.int64)
        indices -= np.array(shape[:depth]) * node.array(indices.shape, bool)
    else:
        indices = tuples(node, (count,), shape[:depth])
    data = node.tensor(0, shape)
    return [data, indices, node.array((len(indices), *shape[depth:]), data.dtype)]


@draws("TensorScatter")
def tensor_scatter(node: Node) -> Sequence[Array | None]:
    """Rows written into a cache, in each item of the batch from a position of its own."""
    shape = node.shape(least=3, most=4)
    axis = node.attribute("axis", st.sampled_from([1, -2]))
    mode = node.attribute("mode", st.sampled_from(["linear", "circular"]))
    data = node.tensor(0, shape)
    rows = node.size(1, shape[axis])
    update = node.array([rows if i == axis % len(shape) else size for i, size in enumerate(shape)], data.dtype)
    last = shape[axis] - (rows if mode == "linear" else 1)
    return [data, update, node.array(shape[:1], np.int64, 0, last) if node.bit() else None]


@draws("NonZero")
def non_zero(node: Node) -> Sequence[Array | None]:
    return [node.tensor(0, node.shape(least=1), 0, 1)]


@draws("Compress")
def compress(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1)
    axis = node.attribute("axis", st.integers(-len(shape) if node.since >= 11 else 0, len(shape) - 1))
    size = int(np.prod(shape)) if axis is None else shape[axis]
    return [node.tensor(0, shape), node.array((node.size(1, size),), bool)]


@draws("Unique")
def unique(node: Node) -> Sequence[Array | None]:
    node.outputs = 4
    shape = node.shape(least=1)
    axis = node.attribute("axis", st.integers(-len(shape), len(shape) - 1))
    in_order = node.attribute("sorted", BIT)
    data = node.array(shape, node.dtype(0, "biuf"), 0, 2)
    # By numpy: of what is not sorted the evaluator takes rows, whatever the axis.
    items, axis = (data.reshape(-1), 0) if axis is None else (data, axis)
    values, first, inverse, counts = np.unique(items, True, True, True, axis=axis)
    order = np.arange(len(first)) if in_order else np.argsort(first)
    places = np.argsort(order)[inverse.reshape(-1)]
    node.expected = [values.take(order, axis), first[order], places, counts[order]]
    return [data]


@draws("ArrayFeatureExtractor", domain="ai.onnx.ml")
def array_feature_extractor(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1)
    return [node.tensor(0, shape), positions(node, (node.size(),), shape[-1], negative=False)]
