"""What slides a window: convolutions and pooling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tests.support.onnx_ops import TOLERANCES, Array
from tests.support.strategies.node import BIT, Node, is_half
from tests.support.strategies.table import draws
from tests.support.windows import Area, cropped, largest, scattered, window_sums


def area_of(node: Node, rank: int, most: int = 3, automatic: bool = True, capped: bool = True) -> Area:
    """Draw kernel, strides, dilations and padding. With `capped` every window sees some element.

    The padding of SAME_UPPER and SAME_LOWER, which goes by the size of the data, is worked out where it is known.
    """

    def each(values: st.SearchStrategy[int]) -> st.SearchStrategy[list[int]]:
        return st.lists(values, min_size=rank, max_size=rank)

    kernel = node.draw(each(st.integers(1, most)))
    ones = [1] * rank
    strides = node.attribute("strides", each(st.integers(1, 3)), absent=ones)
    dilations = node.attribute("dilations", each(st.integers(1, 2)), absent=ones)
    modes = ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"] if automatic else ["NOTSET"]
    mode = node.attribute("auto_pad", st.sampled_from(modes), absent="NOTSET")
    pads = [0] * 2 * rank
    node.asked |= {"pads", "kernel_shape"}
    if mode == "NOTSET" and node.bit():
        pads = [node.size(0, min(1, k - 1) if capped else 2) for k in kernel * 2]
        node.set("pads", pads)
    ceil = node.attribute("ceil_mode", BIT, absent=0) if mode == "NOTSET" else 0
    node.asked.add("ceil_mode")
    return Area(kernel, strides, dilations, pads, bool(ceil), mode)


def spatial(node: Node, rank: int) -> list[int]:
    """Sizes that have room for a window; few elements in three dimensions."""
    return [node.size(5, 7) if rank < 3 else node.size(3, 4) for _ in range(rank)]


@draws("Conv")
def convolution(node: Node) -> Sequence[Array | None]:
    rank, group = node.size(1, 3), node.attribute("group", st.sampled_from([1, 2]))
    area = area_of(node, rank, most=3 if rank < 3 else 2, capped=False)
    if node.bit():
        node.set("kernel_shape", area.kernel)
    data = node.tensor(0, (node.size(1, 2), 2, *spatial(node, rank)))
    weight = node.tensor(1, (4, 2 // group, *area.kernel))
    bias = node.tensor(2, (4,)) if node.bit() else None
    explicit = area.padded(data.shape[2:])
    attributes = {"strides": area.strides, "dilations": area.dilations, "pads": explicit.pads, "group": group}
    node.ask([data, weight, bias], 22, attributes)
    return [data, weight, bias]


@draws("ConvTranspose")
def transposed_convolution(node: Node) -> Sequence[Array | None]:
    rank, group = node.size(1, 3), node.attribute("group", st.sampled_from([1, 2]))
    area = area_of(node, rank, most=3 if rank < 3 else 2, automatic=False)
    if node.bit():
        node.set("kernel_shape", area.kernel)
    data = node.tensor(0, (node.size(1, 2), 4, *(node.size(3, 4) for _ in range(rank))))
    weight = node.tensor(1, (4, 2, *area.kernel))
    bias = node.tensor(2, (2 * group,)) if node.bit() else None
    extra = [0] * rank
    node.asked |= {"output_padding", "output_shape"}
    if node.bit():
        extra = [node.size(0, stride - 1) for stride in area.strides]
        node.set("output_padding", extra)
    whole = scattered(data, weight, area.strides, area.dilations, group)
    begin, end = area.pads[:rank], [pad - more for pad, more in zip(area.pads[rank:], extra, strict=True)]
    expected = cropped(whole, begin, end) + (0 if bias is None else bias.astype(np.float64).reshape(-1, *[1] * rank))
    node.expected = [expected.astype(data.dtype)]
    if is_half(data.dtype):
        # Some processors round the sum of each tap to 16 bits: what cancels leaves the error of larger terms.
        node.tolerance = 10 * TOLERANCES[data.dtype.name]
    return [data, weight, bias]


@draws("DeformConv")
def deformable_convolution(node: Node) -> Sequence[Array | None]:
    group, parts = (node.attribute(name, st.sampled_from([1, 2])) for name in ("group", "offset_group"))
    area = area_of(node, 2, automatic=False, capped=False)
    if node.bit():
        node.set("kernel_shape", area.kernel)
    counts = area.counts((5, 5))
    taps = parts * area.kernel[0] * area.kernel[1]
    inputs = [
        node.tensor(0, (1, 4, 5, 5)),
        node.tensor(1, (2, 4 // group, *area.kernel)),
        node.tensor(2, (1, taps * 2, *counts), -2, 2),
        node.tensor(3, (2,)) if node.bit() else None,
        node.tensor(4, (1, taps, *counts)) if node.bit() else None,
    ]
    node.ask_wide(inputs)
    node.tolerance = None if is_half(node.dtype(0)) else 1e-4
    return inputs


@draws("MaxPool")
def max_pool(node: Node) -> Sequence[Array | None]:
    """No two elements are equal, so that there is one place where each maximum is."""
    rank = node.size(1, 3)
    area = area_of(node, rank, most=3 if rank < 3 else 2)
    node.set("kernel_shape", area.kernel)
    by_column = node.attribute("storage_order", BIT, absent=0)
    node.outputs = node.choice(1, 2) if node.since >= 8 else 1
    dtype = node.dtype(0)
    shape = (1, 2, *spatial(node, rank))
    order = np.argsort(node.array((int(np.prod(shape)),), np.float64)).reshape(shape)
    data = (order - 100 if dtype.kind != "u" else order).astype(dtype)
    node.expected = largest(data, area.padded(shape[2:]), bool(by_column))[: node.outputs]
    return [data]


@draws("AveragePool")
def average_pool(node: Node) -> Sequence[Array | None]:
    rank = node.size(1, 3)
    area = area_of(node, rank, most=3 if rank < 3 else 2)
    node.set("kernel_shape", area.kernel)
    counted = node.attribute("count_include_pad", BIT, absent=0)
    data = node.tensor(0, (1, 2, *spatial(node, rank)))
    sums, inner, outer = window_sums(data.astype(np.float64), area.padded(data.shape[2:]))
    node.expected = [(sums / (outer if counted else inner)).astype(data.dtype)]
    return [data]


@draws("LpPool")
def lp_pool(node: Node) -> Sequence[Array | None]:
    rank = node.size(1, 3)
    area = area_of(node, rank, most=3 if rank < 3 else 2)
    node.set("kernel_shape", area.kernel)
    order = node.attribute("p", st.sampled_from([1.0, 2.0, 3.0] if node.since == 1 else [1, 2, 3]))
    data = node.tensor(0, (1, 2, *spatial(node, rank)))
    sums, _, _ = window_sums(np.abs(data.astype(np.float64)) ** order, area.padded(data.shape[2:]))
    node.expected = [(sums ** (1 / order)).astype(data.dtype)]
    return [data]


@draws("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(node: Node) -> Sequence[Array | None]:
    data = node.tensor(0, node.shape(least=3, most=5))
    over = tuple(range(2, data.ndim))
    wide = data.astype(np.float64)
    if node.op == "GlobalLpPool":
        order = node.attribute("p", st.sampled_from([1.0, 2.0, 3.0] if node.since == 1 else [1, 2, 3]))
        result = (np.abs(wide) ** order).sum(over, keepdims=True) ** (1 / order)
    else:
        result = (wide.mean if node.op == "GlobalAveragePool" else wide.max)(over, keepdims=True)
    node.expected = [result.astype(data.dtype)]
    return [data]


@draws("MaxUnpool")
def max_unpool(node: Node) -> Sequence[Array | None]:
    """Places in the output that are all different; the output may be larger than what was pooled."""
    rank = node.size(1, 2)
    kernel = [node.size(1, 3) for _ in range(rank)]
    node.set("kernel_shape", kernel)
    strides = node.attribute("strides", st.just(kernel), absent=[1] * rank)
    node.attribute("pads", st.just([0] * 2 * rank))
    data = node.tensor(0, (1, 2, *(node.size(1, 3) for _ in range(rank))))
    implied = [(size - 1) * s + k for size, s, k in zip(data.shape[2:], strides, kernel, strict=True)]
    order = np.argsort(node.array((2 * int(np.prod(implied)),), np.float64))[: data.size]
    filled = np.zeros(2 * int(np.prod(implied)), data.dtype)
    filled[order] = data.reshape(-1)
    result = filled.reshape(1, 2, *implied)
    shape = None
    if node.bit():
        shape = node.ints(1, 2, *(size + node.size(0, 1) for size in implied))
        beyond = [(0, int(wanted) - size) for wanted, size in zip(shape[2:], implied, strict=True)]
        result = np.pad(result, [(0, 0), (0, 0), *beyond])
    node.expected = [result]
    return [data, order.reshape(data.shape).astype(np.int64), shape]


@draws("Col2Im")
def col2im(node: Node) -> Sequence[Array | None]:
    rank = node.size(1, 3)
    area = area_of(node, rank)
    image = [(k - 1) * d + node.size(1, 4) for k, d in zip(area.kernel, area.dilations, strict=True)]
    columns = int(np.prod(area.counts(image)))
    channels = node.size(1, 2) * int(np.prod(area.kernel))
    return [node.tensor(0, (node.size(1, 2), channels, columns)), node.ints(*image), node.ints(*area.kernel)]
