from __future__ import annotations

import numpy as np

from tests.support.onnx_ops import Array, check_op, run_op, sample


def test_without_offsets_it_is_a_convolution() -> None:
    data, weight = sample((1, 2, 5, 4)), sample((3, 2, 2, 3), seed=1)
    attributes = {"strides": [2, 1], "pads": [1, 0, 0, 1]}
    (expected,) = run_op("Conv", [data, weight], 22, attributes=attributes)
    offset = np.zeros((1, 2 * 3 * 2, *expected.shape[2:]), np.float32)
    check_op("DeformConv", [data, weight, offset], 22, attributes=attributes, expected=[expected], tolerance=1e-4)


def test_exports_with_symbolic_sizes() -> None:
    def inputs(batch: int, rows: int) -> list[Array]:
        offset = sample((batch, 8, rows - 1, rows - 1), seed=2, low=-1, high=1)
        return [sample((batch, 2, rows, rows)), sample((3, 2, 2, 2), seed=1), offset]

    check_op("DeformConv", inputs(2, 4), 22, constants={1}, symbolic=inputs(3, 6), tolerance=1e-3)
