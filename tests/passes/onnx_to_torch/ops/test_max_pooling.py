from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.onnx_ops import check_op, sample
from tests.support.windows import Area, largest


def test_padding_is_never_the_maximum() -> None:
    data = -1 - np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    attributes: dict[str, Any] = {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1], "strides": [1, 1]}
    expected = largest(data, Area([2, 2], [1, 1], [1, 1], attributes["pads"]))
    check_op("MaxPool", [data], 22, attributes=attributes, outputs=2, expected=expected)
    assert expected[0].max() < 0


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
