from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import Array, check_op, sample


def test_softplus_far_from_zero() -> None:
    for dtype in ("float32", "float64"):
        data = np.array([-800, -30, 0, 19, 21, 41, 800], dtype)
        check_op("Softplus", [data], 22, expected=[np.logaddexp(data, np.zeros_like(data))], tolerance=1e-14)


def test_nan_is_not_above_the_threshold() -> None:
    check_op("ThresholdedRelu", [np.array([np.nan, 2, 0.5], np.float32)], 22)


@pytest.mark.parametrize("op_type", ["Relu", "Gelu", "HardSwish", "PRelu"])
def test_exports_with_symbolic_sizes(op_type: str) -> None:
    def inputs(rows: int) -> list[Array]:
        return [sample((rows, 3, 4)), sample((3, 1), seed=1)][: 2 if op_type == "PRelu" else 1]

    check_op(op_type, inputs(2), 22, symbolic=inputs(5), constants={1})


def test_selu_by_its_formula() -> None:
    data = sample((7,), "float64")
    expected = np.where(data > 0, 2 * data, 2 * 0.5 * (np.exp(data) - 1))
    check_op("Selu", [data], 22, attributes={"alpha": 0.5, "gamma": 2.0}, expected=[expected])
