"""Data brought to mean 0 and variance 1, or to norm 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tests.support.onnx_ops import TOLERANCES, Array
from tests.support.strategies.node import BIT, Node
from tests.support.strategies.table import draws

EPSILON = st.sampled_from([1e-2, 1e-5])


def standardized(data: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """Mean 0 and variance 1 over the axes, float64."""
    centred = data.astype(np.float64) - data.astype(np.float64).mean(axes, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axes, keepdims=True) + epsilon))


def by_channel(parameter: Array, rank: int) -> Array:
    return parameter.astype(np.float64).reshape(-1, *[1] * (rank - 2))


@draws("BatchNormalization")
def batch_normalization(node: Node) -> Sequence[Array | None]:
    """As served: with statistics that are given. Up to version 7 each element may have its own."""
    epsilon = node.attribute("epsilon", EPSILON)
    node.attribute("momentum", st.just(0.8))
    node.set("is_test", 1)
    shape = node.shape(least=2, most=4)
    each = not node.attribute("spatial", BIT, absent=1)
    node.attribute("training_mode", st.just(0))
    sizes = shape[1:] if each else shape[1:2]
    data = node.tensor(0, shape)
    scale, bias, mean = (node.tensor(i, sizes) for i in (1, 2, 3))
    variance = node.tensor(4, sizes, low=0.5)
    operands = [a.astype(np.float64) if each else by_channel(a, len(shape)) for a in (scale, bias, mean, variance)]
    result = (data.astype(np.float64) - operands[2]) / np.sqrt(operands[3] + epsilon) * operands[0] + operands[1]
    node.expected = [result.astype(data.dtype)]
    return [data, scale, bias, mean, variance]


@draws("InstanceNormalization")
def instance_normalization(node: Node) -> Sequence[Array | None]:
    epsilon = node.attribute("epsilon", EPSILON)
    data = node.tensor(0, node.shape(least=3, most=4, smallest=2))
    scale, bias = (node.tensor(i, data.shape[1:2]) for i in (1, 2))
    result = standardized(data, tuple(range(2, data.ndim)), epsilon)
    # Elements close to their mean lose digits, and a bias that cancels what is left shows it.
    node.tolerance = 1e-4 if data.dtype == np.float32 else None
    node.expected = [(result * by_channel(scale, data.ndim) + by_channel(bias, data.ndim)).astype(data.dtype)]
    return [data, scale, bias]


@draws("GroupNormalization")
def group_normalization(node: Node) -> Sequence[Array | None]:
    """In version 18 a scale for each group, from 21 on for each channel."""
    epsilon = node.attribute("epsilon", EPSILON)
    node.attribute("stash_type", st.just(1))
    groups, each = node.size(1, 3), node.size(1, 2)
    node.set("num_groups", groups)
    data = node.tensor(0, (node.size(1, 2), groups * each, *node.shape(least=1, most=2, smallest=2)))
    scale, bias = (node.tensor(i, (groups if node.since == 18 else groups * each,)) for i in (1, 2))
    rows = standardized(data.reshape(len(data), groups, -1), (2,), epsilon).reshape(data.shape)
    scales, biases = (np.repeat(a, groups * each // a.size) for a in (scale, bias))
    node.expected = [(rows * by_channel(scales, data.ndim) + by_channel(biases, data.ndim)).astype(data.dtype)]
    return [data, scale, bias]


@draws("MeanVarianceNormalization")
def mean_variance_normalization(node: Node) -> Sequence[Array | None]:
    data = node.tensor(0, node.shape(least=4, most=4, smallest=2))
    axes = node.attribute("axes", st.lists(st.integers(0, 3), min_size=1, unique=True), absent=[0, 2, 3])
    wide, over = data.astype(np.float64), tuple(axes)
    # The constant is that of the operator's body.
    result = (wide - wide.mean(over, keepdims=True)) / (wide.std(over, keepdims=True) + 1e-9)
    node.expected = [result.astype(data.dtype)]
    return [data]


@draws("LayerNormalization", "RMSNormalization")
def layer_normalization(node: Node) -> Sequence[Array | None]:
    """Statistics are float32, whatever the data; the scale broadcasts to the normalized axes."""
    epsilon = node.attribute("epsilon", EPSILON)
    node.attribute("stash_type", st.just(1))
    shape = node.shape(least=1, smallest=2)
    axis = node.attribute("axis", st.integers(-len(shape), len(shape) - 1)) % len(shape)
    data = node.tensor(0, shape)
    scale = node.tensor(1, [node.choice(1, size) for size in shape[axis:]])
    over = tuple(range(axis, len(shape)))
    wide = data.astype(np.float64)
    node.tolerance = max(1e-5, *(TOLERANCES[a.dtype.name] for a in (data, scale)))
    if node.op == "RMSNormalization":
        result = (wide / np.sqrt((wide**2).mean(over, keepdims=True) + epsilon)).astype(data.dtype) * scale
        node.expected = [result.astype(scale.dtype)]
        return [data, scale]
    bias = node.tensor(2, shape[axis:]) if node.bit() else None
    node.outputs = node.choice(1, 2, 3)
    result = standardized(data, over, epsilon) * scale + (0 if bias is None else bias)
    deviation = 1 / np.sqrt(wide.var(over, keepdims=True) + epsilon)
    statistics = [wide.mean(over, keepdims=True).astype(np.float32), deviation.astype(np.float32)]
    node.expected = [result.astype(data.dtype), *statistics][: node.outputs]
    return [data, scale, bias]


@draws("LRN")
def lrn(node: Node) -> Sequence[Array | None]:
    size = node.attribute("size", st.integers(1, 5))
    values = {name: node.attribute(name, st.sampled_from([0.5, 0.75, 1.5])) for name in ("alpha", "beta", "bias")}
    data = node.tensor(0, (2, node.size(1, 6), *node.shape(most=2)))
    wide = data.astype(np.float64)
    sums = np.zeros_like(wide)
    for channel in range(data.shape[1]):
        first, last = max(0, channel - (size - 1) // 2), channel + size // 2 + 1
        sums[:, channel] = (wide[:, first:last] ** 2).sum(1)
    node.expected = [(wide / (values["bias"] + values["alpha"] / size * sums) ** values["beta"]).astype(data.dtype)]
    return [data]
