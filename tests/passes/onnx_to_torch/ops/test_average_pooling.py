from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.onnx_ops import check_op, sample


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
