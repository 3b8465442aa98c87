from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.onnx_ops import Array, check_op, sample

CASES: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("Relu", (1, 6, 13, 14), {}),
    ("LeakyRelu", (1, 6, 16), {}),
    ("LeakyRelu", (6, 16), {"alpha": 0.3}),
    ("Elu", (1, 6, 22), {}),
    ("Elu", (1, 6, 22), {"alpha": 0.4}),
    ("Selu", (6, 22), {}),
    ("Selu", (1, 6, 22), {"alpha": 0.4, "gamma": 3.0}),
    ("Celu", (12, 28), {}),
    ("Celu", (12, 28), {"alpha": 0.4}),
    ("ThresholdedRelu", (10, 22), {}),
    ("ThresholdedRelu", (10, 22), {"alpha": 0.4}),
    ("HardSigmoid", (1, 6, 22), {}),
    ("HardSigmoid", (1, 6, 22), {"alpha": 0.4, "beta": 0.1}),
    ("HardSigmoid", (6, 22), {"alpha": 1 / 6, "beta": 0.5}),
    ("HardSwish", (14, 22), {}),
    ("Sigmoid", (1, 6, 13), {}),
    ("Tanh", (1, 6, 13), {}),
    ("Softplus", (1, 22), {}),
    ("Softsign", (1, 22), {}),
    ("Gelu", (20,), {}),
    ("Gelu", (20,), {"approximate": "tanh"}),
    ("Mish", (18, 22), {}),
    ("Swish", (24,), {}),
    ("Swish", (24,), {"alpha": 0.4}),
    ("Shrink", (9,), {}),
    ("Shrink", (9,), {"lambd": 1.5, "bias": 0.25}),
]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("op_type", "since", "attributes"), [(name, v, given) for name, since, given in CASES for v in since]
)
def test_matches_the_reference(op_type: str, since: int, attributes: dict[str, Any], dtype: str) -> None:
    # The bodies of some of these keep float32 constants also for float64.
    tolerance = 1e-6 if dtype == "float64" else None
    check_op(op_type, [sample((3, 5), dtype)], since, attributes=attributes, tolerance=tolerance)


def test_softplus_far_from_zero() -> None:
    for dtype in ("float32", "float64"):
        data = np.array([-800, -30, 0, 19, 21, 41, 800], dtype)
        check_op("Softplus", [data], 22, expected=[np.logaddexp(data, np.zeros_like(data))], tolerance=1e-14)


def test_nan_is_not_above_the_threshold() -> None:
    check_op("ThresholdedRelu", [np.array([np.nan, 2, 0.5], np.float32)], 22)


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8"])
def test_shrink_on_integers(dtype: str) -> None:
    check_op("Shrink", [np.arange(5).astype(dtype)], 9, attributes={"lambd": 2.0, "bias": 1.0})


def test_swiglu() -> None:
    gate, linear = sample((3, 5)), sample((3, 5), seed=1)
    check_op("SwiGLU", [gate, linear], 28)
    check_op("SwiGLU", [gate, linear], 28, attributes={"alpha": 1.7})


@pytest.mark.parametrize("since", [1, 6])
@pytest.mark.parametrize("slopes", [1, 3])
def test_until_version_6_prelu_has_a_slope_for_each_channel(since: int, slopes: int) -> None:
    data, slope = sample((2, 3, 4)), sample((slopes,), seed=1)
    expected = np.where(data < 0, slope[:, None] * data, data)
    check_op("PRelu", [data, slope], since, expected=[expected])


@pytest.mark.parametrize("since", [7, 9, 16])
@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (1, 1), (3, 4), (2, 3, 4), (1, 3, 1)])
def test_the_slope_of_prelu_broadcasts(since: int, shape: tuple[int, ...]) -> None:
    check_op("PRelu", [sample((2, 3, 4)), sample(shape, seed=1)], since)


def test_prelu_on_integers() -> None:
    check_op("PRelu", [sample((2, 3, 4), "int32"), sample((3, 1), "int32", seed=1)], 16)


@pytest.mark.parametrize("op_type", ["Relu", "Gelu", "HardSwish", "PRelu"])
def test_exports_with_symbolic_sizes(op_type: str) -> None:
    def inputs(rows: int) -> list[Array]:
        return [sample((rows, 3, 4)), sample((3, 1), seed=1)][: 2 if op_type == "PRelu" else 1]

    check_op(op_type, inputs(2), 22, symbolic=inputs(5), constants={1})


def test_relu_on_integers() -> None:
    check_op("Relu", [np.array([-3, 0, 3], np.int8)], 14)


def test_selu_by_its_formula() -> None:
    data = sample((7,), "float64")
    expected = np.where(data > 0, 2 * data, 2 * 0.5 * (np.exp(data) - 1))
    check_op("Selu", [data], 22, attributes={"alpha": 0.5, "gamma": 2.0}, expected=[expected])
