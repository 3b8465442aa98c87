from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, Array, check_op, run_op, sample


def pooled(data: Array, area: dict[str, Any], column_major: bool = False) -> tuple[Array, Array]:
    """Maxima and their positions straight from the definition, `data` [N, C, spatial...]."""
    rank, sizes = data.ndim - 2, data.shape[2:]
    kernel, strides, dilations, pads = (area[name] for name in ("kernel_shape", "strides", "dilations", "pads"))
    counts = []
    for i, size in enumerate(sizes):
        room = size + pads[i] + pads[rank + i] - ((kernel[i] - 1) * dilations[i] + 1)
        count = (-(-room // strides[i]) if area.get("ceil_mode") else room // strides[i]) + 1
        # A window that would begin beyond the input and what is before it does not count.
        counts.append(sum(n * strides[i] < size + pads[i] for n in range(count)) if area.get("ceil_mode") else count)
    values = np.zeros((*data.shape[:2], *counts), data.dtype)
    indices = np.zeros(values.shape, np.int64)
    strides_of_index = [int(np.prod(sizes[:i] if column_major else sizes[i + 1 :])) for i in range(rank)]
    for n, c, *at in np.ndindex(values.shape):
        taps = itertools.product(
            *(
                [a * s - p + d * t for t in range(k)]
                for a, s, p, d, k in zip(at, strides, pads[:rank], dilations, kernel, strict=True)
            )
        )
        inside = [tap for tap in taps if all(0 <= t < size for t, size in zip(tap, sizes, strict=True))]
        best = max(inside, key=lambda tap: (data[(n, c, *tap)], [-t for t in tap]))
        values[(n, c, *at)] = data[(n, c, *best)]
        flat = sum(t * step for t, step in zip(best, strides_of_index, strict=True))
        indices[(n, c, *at)] = (n * data.shape[1] + c) * int(np.prod(sizes)) + flat
    return values, indices


@pytest.mark.parametrize("since", [1, 8, 10, 11, 12, 22])
@pytest.mark.parametrize("rank", [1, 2, 3])
@FEW
@given(data=st.data())
def test_with_explicit_padding(since: int, rank: int, data: st.DataObject) -> None:
    def per_axis(low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    kernel = per_axis(1, 3)
    area: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": per_axis(1, 3),
        "dilations": per_axis(1, 2) if since >= 10 else [1] * rank,
        "pads": [data.draw(st.integers(0, k - 1)) for k in kernel * 2],
        "ceil_mode": data.draw(st.integers(0, 1)) if since >= 10 else 0,
        "storage_order": data.draw(st.integers(0, 1)) if since >= 8 else 0,
    }
    values = np.arange(2 * 2 * 6**rank, dtype=np.float32)
    array = np.random.default_rng(0).permutation(values).reshape(2, 2, *[6] * rank)
    expected = pooled(array, area, column_major=bool(area["storage_order"]))
    attributes = {name: value for name, value in area.items() if since >= 10 or name not in ("dilations", "ceil_mode")}
    if since < 8:
        del attributes["storage_order"]
    check_op("MaxPool", [array], since, attributes=attributes, expected=expected[:1])
    if since >= 8:
        check_op("MaxPool", [array], since, attributes=attributes, outputs=2, expected=expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float16", "float64"])
def test_other_element_types(dtype: str) -> None:
    check_op("MaxPool", [sample((1, 2, 6, 6), dtype)], 12, attributes={"kernel_shape": [2, 2], "strides": [2, 2]})


def test_padding_is_never_the_maximum() -> None:
    data = -1 - np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    attributes: dict[str, Any] = {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1], "strides": [1, 1]}
    expected = pooled(data, {**attributes, "dilations": [1, 1]})
    check_op("MaxPool", [data], 22, attributes=attributes, outputs=2, expected=expected)
    assert expected[0].max() < 0


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("size", [7, 8])
def test_with_automatic_padding(mode: str, size: int) -> None:
    data = sample((1, 2, size))
    total = 0 if mode == "VALID" else max((-(-size // 2) - 1) * 2 + 4 - size, 0)
    begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
    shared: dict[str, Any] = {"kernel_shape": [4], "strides": [2]}
    explicit = run_op("MaxPool", [data], 22, attributes={**shared, "pads": [begin, total - begin]})
    check_op("MaxPool", [data], 22, attributes={**shared, "auto_pad": mode}, expected=explicit)


@pytest.mark.parametrize(
    "area",
    [
        {"pads": [1, 1, 1, 1]},
        {"pads": [1, 0, 0, 1]},
        {"ceil_mode": 1},
        {"ceil_mode": 1, "pads": [1, 0, 0, 1]},
        {"auto_pad": "SAME_UPPER"},
    ],
)
def test_exports_with_symbolic_spatial_sizes(area: dict[str, Any]) -> None:
    attributes = {"kernel_shape": [3, 2], "strides": [2, 2], **area}
    inputs = [[sample((batch, 2, rows, rows + 3))] for batch, rows in ((2, 7), (3, 11))]
    check_op("MaxPool", inputs[0], 22, attributes=attributes, symbolic=inputs[1])


@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [1, 0, 0, 1]])
def test_positions_export_with_symbolic_spatial_sizes(pads: list[int]) -> None:
    attributes = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": pads}
    inputs = [[sample((batch, 2, rows, rows + 3))] for batch, rows in ((2, 7), (3, 11))]
    check_op("MaxPool", inputs[0], 22, attributes=attributes, outputs=2, symbolic=inputs[1])


@pytest.mark.parametrize("since", [1, 22])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 2, 2)])
def test_global_max_pool(since: int, shape: tuple[int, ...]) -> None:
    data = sample(shape)
    expected = data.max(tuple(range(2, data.ndim)), keepdims=True)
    check_op("GlobalMaxPool", [data], since, expected=[expected])


def test_global_max_pool_exports_with_symbolic_spatial_sizes() -> None:
    check_op("GlobalMaxPool", [sample((2, 3, 4, 5))], 22, symbolic=[sample((4, 3, 7, 6))])


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("ceil_mode", [0, 1])
def test_a_signal_keeps_its_symbolic_length(outputs: int, ceil_mode: int) -> None:
    attributes = {"kernel_shape": [3], "strides": [2], "ceil_mode": ceil_mode}
    inputs = [[sample((batch, 2, length))] for batch, length in ((2, 8), (3, 11))]
    check_op("MaxPool", inputs[0], 22, attributes=attributes, outputs=outputs, symbolic=inputs[1])
