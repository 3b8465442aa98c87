"""The same elements in another shape or order, and what is known of shapes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.node import BIT, Node
from tests.support.strategies.table import draws


@draws("Shape")
def shape_of(node: Node) -> Sequence[Array | None]:
    """By numpy: what is beyond the first axis the evaluator takes for the last."""
    start = node.attribute("start", st.integers(-4, 4), absent=0)
    end = node.attribute("end", st.integers(-4, 4))
    data = node.tensor(0, node.shape(smallest=0))
    node.expected = [node.ints(*data.shape[start:end])]
    return [data]


@draws("Size", "Identity")
def unchanged(node: Node) -> Sequence[Array | None]:
    return [node.tensor(0, node.shape(smallest=0), edges=True)]


@draws("Reshape")
def reshape(node: Node) -> Sequence[Array | None]:
    """One size may be -1, for what is left; 0 keeps the size at its place."""
    shape = node.shape()
    data = node.tensor(0, shape)
    new = _factors(node, math.prod(shape))
    zero_is_zero = node.attribute("allowzero", st.just(0))
    kept = [i for i in range(min(len(new), len(shape))) if new[i] == shape[i]]
    if kept and node.bit() and not zero_is_zero:
        new[node.choice(*kept)] = 0
    elif new and node.bit():
        new[node.size(0, len(new) - 1)] = -1
    if node.has("shape"):
        new = new or [1]
        node.set("shape", new)
        node.expected = [data.reshape([size or old for size, old in itertools.zip_longest(new, shape[: len(new)])])]
        return [data]
    return [data, node.ints(*new)]


def _factors(node: Node, count: int) -> list[int]:
    """Sizes of that product: divisors of what is left, then what is left."""
    sizes = []
    for _ in range(node.size(0, 3)):
        sizes.append(node.choice(*(n for n in range(1, count + 1) if count % n == 0)))
        count //= sizes[-1]
    return [*sizes, count] if count > 1 else sizes


@draws("Flatten")
def flatten(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1)
    node.attribute("axis", st.integers(-len(shape) if node.since >= 11 else 0, len(shape)))
    return [node.tensor(0, shape)]


@draws("Squeeze")
def squeeze(node: Node) -> Sequence[Array | None]:
    shape = tuple(node.choice(1, size) for size in node.shape(most=4))
    data = node.tensor(0, shape)
    ones = [i for i, size in enumerate(shape) if size == 1]
    axes = node.draw(st.lists(st.sampled_from(ones), unique=True)) if ones else []
    axes = [i - len(shape) * (node.since >= 11 and node.bit()) for i in axes]
    node.asked.add("axes")
    if not node.has("axes"):
        return [data, node.ints(*axes) if axes or (node.bit() and not ones) else None]
    if axes:
        node.set("axes", axes)
    node.ask([data, node.ints(*axes) if axes else None], 13)
    return [data]


@draws("Unsqueeze")
def unsqueeze(node: Node) -> Sequence[Array | None]:
    shape = node.shape()
    count = node.size(1, 2)
    rank = len(shape) + count
    first = 0 if node.since < 11 else -rank
    axes = node.draw(
        st.lists(st.integers(first, rank - 1), min_size=count, max_size=count, unique_by=lambda axis: axis % rank)
    )
    data = node.tensor(0, shape)
    if node.has("axes"):
        node.set("axes", axes)
        node.ask([data, node.ints(*axes)], 13)
        return [data]
    return [data, node.ints(*axes)]


@draws("Transpose")
def transpose(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1, most=4)
    node.attribute("perm", st.permutations(range(len(shape))))
    return [node.tensor(0, shape)]


@draws("Expand")
def expand(node: Node) -> Sequence[Array | None]:
    wanted = node.shape()
    kept = node.size(0, len(wanted))
    shape = [node.choice(1, size) for size in wanted[len(wanted) - kept :]]
    asked = [node.choice(1, size) if old == size else size for old, size in zip(shape, wanted[-kept:], strict=False)]
    return [node.tensor(0, shape), node.ints(*wanted[: len(wanted) - kept], *asked[:kept])]


@draws("Tile")
def tile(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1)
    data = node.tensor(0, shape)
    if node.arity == 3:  # along one axis
        axis, times = node.size(0, len(shape) - 1), node.size()
        node.expected = [np.concatenate([data] * times, axis)]
        return [data, np.array([times], data.dtype), np.array([axis], data.dtype)]
    return [data, node.ints(*(node.size(0, 3) for _ in shape))]


@draws("DepthToSpace", "SpaceToDepth")
def blocks(node: Node) -> Sequence[Array | None]:
    block = node.size(1, 3)
    node.set("blocksize", block)
    node.attribute("mode", st.sampled_from(["DCR", "CRD"]))
    batch, channels, height, width = (node.size(1, 3) for _ in range(4))
    if node.op == "DepthToSpace":
        return [node.tensor(0, (batch, channels * block**2, height, width))]
    return [node.tensor(0, (batch, channels, height * block, width * block))]


@draws("Concat")
def concat(node: Node) -> Sequence[Array | None]:
    shape = list(node.shape(least=1))
    axis = node.attribute("axis", st.integers(-len(shape) if node.since >= 11 else 0, len(shape) - 1), absent=1)
    if axis >= len(shape):  # the default of version 1
        shape += [2]
    axis %= len(shape)
    parts = []
    for _ in range(node.size(1, 3)):
        shape[axis] = node.size(0, 3)
        parts.append(node.tensor(0, shape))
    node.expected = [np.concatenate(parts, axis)]
    return parts


@draws("Split")
def split(node: Node) -> Sequence[Array | None]:
    shape = list(node.shape(least=1))
    axis = node.attribute("axis", st.integers(-len(shape) if node.since >= 2 else 0, len(shape) - 1), absent=0)
    axis %= len(shape)
    node.outputs = node.size(1, 3)
    node.asked |= {"split", "num_outputs"}
    if node.bit():  # equal parts; from version 18 on the last one may be smaller
        shape[axis] = node.outputs * node.size(1, 2) - (node.since >= 18 and node.outputs == 2 and node.bit())
        node.set("num_outputs", node.outputs)
        lengths = None
    else:
        lengths = [node.size(1 if node.since == 1 else 0, 3) for _ in range(node.outputs)]
        shape[axis] = sum(lengths)
    data = node.tensor(0, shape)
    if lengths is None or not node.has("split"):
        found: list[Array | None] = [data] if lengths is None else [data, node.ints(*lengths)]
    else:
        node.set("split", lengths)
        found = [data]
    if node.since == 1:
        if lengths is not None and node.bit():
            del node.attributes["split"]
            found = [data, np.array(lengths, data.dtype)]
        ends = np.cumsum(lengths or [shape[axis] // node.outputs] * node.outputs)[:-1]
        node.expected = np.split(data, ends, axis)
    return found


@draws("Slice")
def slice_(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1)
    data = node.tensor(0, shape)
    axes = node.draw(st.lists(st.sampled_from(range(len(shape))), min_size=1, unique=True))
    starts, ends = ([node.size(-6, 6) for _ in axes] for _ in range(2))
    if node.since == 1:
        node.set("starts", starts)
        node.set("ends", ends)
        if axes != [*range(len(axes))] or node.bit():
            node.set("axes", axes)
        node.asked.add("axes")
        return [data]
    index = node.choice(np.int32, np.int64)
    steps = [node.choice(-2, -1, 1, 2, 3) for _ in axes] if node.bit() else None
    if node.since >= 11:
        axes = [axis - len(shape) * node.bit() for axis in axes]
    given = [starts, ends, axes, steps]
    return [data, *(None if numbers is None else np.array(numbers, index) for numbers in given)]


@draws("Pad")
def pad(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1, smallest=3)
    data = node.tensor(0, shape)
    mode = node.attribute("mode", st.sampled_from(_MODES[: 4 if node.since >= 19 else 3]))
    smallest = -1 if node.since >= 2 else 0
    axes = list(range(len(shape)))
    if node.arity == 4 and node.bit():
        axes = node.draw(st.lists(st.sampled_from(axes), min_size=1, unique=True))
    pads = [node.size(smallest, 1 if mode == "reflect" else 3) for _ in axes * 2]
    if not node.has("mode") or node.arity == 1:
        value = node.attribute("value", st.sampled_from([0.0, 1.5]), absent=0.0)
        node.set("paddings", pads)
        node.set("pads", pads)
        node.expected = [_padded(data, axes, pads, mode, np.array(value, data.dtype))]
        return [data]
    value = node.array((), data.dtype) if mode == "constant" and node.bit() else None
    node.expected = [_padded(data, axes, pads, mode, np.zeros((), data.dtype) if value is None else value)]
    named = np.array([axis - len(shape) * node.bit() for axis in axes], node.choice(np.int32, np.int64))
    if node.arity < 4:
        return [data, node.ints(*pads), value]
    return [data, node.ints(*pads), value, named if axes != [*range(len(shape))] or node.bit() else None]


def _padded(data: Array, axes: Sequence[int], pads: Sequence[int], mode: str, value: Array) -> Array:
    """By numpy: the evaluator cannot take anything away, which negative pads do before the others add."""
    around = [(0, 0)] * data.ndim
    for axis, begin, end in zip(axes, pads, pads[len(axes) :], strict=False):
        data = data.take(range(max(-begin, 0), data.shape[axis] - max(-end, 0)), axis)
        around[axis] = (max(begin, 0), max(end, 0))
    if mode == "constant":
        filled = np.full([b + size + e for size, (b, e) in zip(data.shape, around, strict=True)], value, data.dtype)
        filled[tuple(slice(b, b + size) for size, (b, _) in zip(data.shape, around, strict=True))] = data
        return filled
    return np.asarray(np.pad(data, around, mode))  # type: ignore[call-overload]


_MODES = ("constant", "reflect", "edge", "wrap")


@draws("CenterCropPad")
def center_crop_pad(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1)
    data = node.tensor(0, shape)
    axes = node.attribute("axes", st.lists(st.sampled_from(range(len(shape))), min_size=1, unique=True))
    wanted = [node.size(1, 6) for _ in (shape if axes is None else axes)]
    return [data, np.array(wanted, node.dtype(1))]


@draws("ReverseSequence")
def reverse_sequence(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=2)
    batch = node.choice(0, 1)
    node.attributes |= {"batch_axis": batch, "time_axis": 1 - batch}
    node.asked |= {"batch_axis", "time_axis"}
    lengths = node.array((shape[batch],), np.int64, 1, shape[1 - batch])
    return [node.tensor(0, shape), lengths]


@draws("Trilu")
def trilu(node: Node) -> Sequence[Array | None]:
    node.attribute("upper", BIT)
    data = node.tensor(0, node.shape(least=2, smallest=0))
    return [data, np.array(node.size(-4, 4), np.int64) if node.bit() else None]
