from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.onnx_ops import Array, check_op, run_op, sample


@pytest.mark.parametrize("since", [9, 11, 22])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_undoes_max_pool(since: int, rank: int) -> None:
    data = np.random.default_rng(0).permutation(2 * 3 * 4**rank).astype(np.float32).reshape(2, 3, *[4] * rank)
    attributes: dict[str, Any] = {"kernel_shape": [2] * rank, "strides": [2] * rank}
    pooled = run_op("MaxPool", [data], 22, attributes=attributes, outputs=2)
    expected = np.where(np.isin(data, pooled[0]), data, 0)
    check_op("MaxUnpool", pooled, since, attributes=attributes, expected=[expected])


@pytest.mark.parametrize("since", [9, 11, 22])
def test_the_output_may_be_larger(since: int) -> None:
    inputs: list[Array] = [sample((1, 1, 2, 2)), np.array([[[[5, 7], [13, 15]]]]), np.array([1, 1, 5, 6])]
    attributes: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    check_op("MaxUnpool", inputs, since, attributes=attributes, constants={2})


def test_exports_with_symbolic_sizes() -> None:
    def inputs(rows: int) -> list[Array]:
        return [sample((1, 1, rows, 2)), np.arange(0, rows * 8, 4).reshape(1, 1, rows, 2)]

    attributes: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    check_op("MaxUnpool", inputs(2), 22, attributes=attributes, symbolic=inputs(5))
