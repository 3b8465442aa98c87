from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, Array, check_op, run_op, sample


def window_sums(data: Array, area: dict[str, Any]) -> tuple[Array, Array, Array]:
    """Sums over each window of `data` [N, C, spatial...], and how many elements it has without and with padding."""
    rank, sizes = data.ndim - 2, data.shape[2:]
    kernel, strides, dilations, pads = (area[name] for name in ("kernel_shape", "strides", "dilations", "pads"))
    counts = []
    for i, size in enumerate(sizes):
        room = size + pads[i] + pads[rank + i] - ((kernel[i] - 1) * dilations[i] + 1)
        count = (-(-room // strides[i]) if area.get("ceil_mode") else room // strides[i]) + 1
        counts.append(sum(n * strides[i] < size + pads[i] for n in range(count)) if area.get("ceil_mode") else count)
    sums = np.zeros((*data.shape[:2], *counts))
    inner, outer = np.zeros(counts), np.zeros(counts)
    for at in np.ndindex(*counts):
        axes = zip(at, strides, pads[:rank], dilations, kernel, strict=True)
        taps = list(itertools.product(*([a * s - p + d * t for t in range(k)] for a, s, p, d, k in axes)))
        inside = [tap for tap in taps if all(0 <= t < size for t, size in zip(tap, sizes, strict=True))]
        limits = [size + pad for size, pad in zip(sizes, pads[rank:], strict=True)]
        padded = [tap for tap in taps if all(t < limit for t, limit in zip(tap, limits, strict=True))]
        sums[(slice(None), slice(None), *at)] = sum(data[(slice(None), slice(None), *tap)] for tap in inside)
        inner[at], outer[at] = len(inside), len(padded)
    return sums, inner, outer


def draw_area(data: st.DataObject, rank: int, dilated: bool, ceil: bool) -> dict[str, Any]:
    def per_axis(low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    kernel = per_axis(1, 3)
    return {
        "kernel_shape": kernel,
        "strides": per_axis(1, 3),
        "dilations": per_axis(1, 2) if dilated else [1] * rank,
        "pads": [data.draw(st.integers(0, k - 1)) for k in kernel * 2],
        "ceil_mode": data.draw(st.integers(0, 1)) if ceil else 0,
    }


@pytest.mark.parametrize("since", [1, 7, 10, 11, 19, 22])
@pytest.mark.parametrize("rank", [1, 2, 3])
@FEW
@given(data=st.data())
def test_averages(since: int, rank: int, data: st.DataObject) -> None:
    area = draw_area(data, rank, since >= 19, since >= 10)
    counted = since >= 7 and data.draw(st.booleans())
    array = sample((2, 2, *[6] * rank))
    sums, inner, outer = window_sums(array, area)
    attributes = {**area, "count_include_pad": int(counted)}
    for name, first in (("dilations", 19), ("ceil_mode", 10), ("count_include_pad", 7)):
        if since < first:
            del attributes[name]
    expected = (sums / (outer if counted else inner)).astype(np.float32)
    check_op("AveragePool", [array], since, attributes=attributes, expected=[expected])


@pytest.mark.parametrize("since", [1, 2, 11, 18, 22])
@FEW
@given(data=st.data())
def test_norms(since: int, data: st.DataObject) -> None:
    area, order = draw_area(data, 2, since >= 18, since >= 18), data.draw(st.integers(1, 3))
    array = sample((2, 2, 6, 6))
    sums, _, _ = window_sums(np.abs(array) ** order, area)
    attributes = {**area, "p": float(order) if since == 1 else order}
    if since < 18:
        del attributes["dilations"], attributes["ceil_mode"]
    check_op("LpPool", [array], since, attributes=attributes, expected=[(sums ** (1 / order)).astype(np.float32)])


@pytest.mark.parametrize("op_type", ["AveragePool", "LpPool"])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("size", [7, 8])
def test_with_automatic_padding(op_type: str, mode: str, size: int) -> None:
    data = sample((1, 2, size))
    total = 0 if mode == "VALID" else max((-(-size // 2) - 1) * 2 + 4 - size, 0)
    begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
    shared: dict[str, Any] = {"kernel_shape": [4], "strides": [2]}
    explicit = run_op(op_type, [data], 22, attributes={**shared, "pads": [begin, total - begin]})
    check_op(op_type, [data], 22, attributes={**shared, "auto_pad": mode}, expected=explicit)


@pytest.mark.parametrize(
    "area",
    [
        {"pads": [1, 1, 1, 1]},
        {"pads": [1, 0, 0, 1]},
        {"pads": [1, 0, 0, 1], "count_include_pad": 1},
        {"dilations": [2, 1]},
    ],
)
def test_exports_with_symbolic_spatial_sizes(area: dict[str, Any]) -> None:
    attributes = {"kernel_shape": [3, 2], "strides": [2, 2], **area}
    inputs = [[sample((batch, 2, rows, rows + 3))] for batch, rows in ((2, 7), (3, 11))]
    check_op("AveragePool", inputs[0], 22, attributes=attributes, symbolic=inputs[1])


@pytest.mark.parametrize("since", [1, 22])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 2, 2)])
def test_global_average(since: int, shape: tuple[int, ...]) -> None:
    larger = sample((4, 3, *(size + 1 for size in shape[2:])))
    check_op("GlobalAveragePool", [sample(shape)], since, symbolic=[larger])


@pytest.mark.parametrize("since", [1, 2, 22])
def test_global_norm(since: int) -> None:
    data, order = sample((2, 3, 4, 5)), 3
    expected = (np.abs(data) ** order).sum((2, 3), keepdims=True) ** (1 / order)
    attributes = {"p": float(order) if since == 1 else order}
    check_op("GlobalLpPool", [data], since, attributes=attributes, expected=[expected.astype(np.float32)])
