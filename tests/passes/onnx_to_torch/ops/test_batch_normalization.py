from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import Array, check_op, run_op, sample


def inputs_for(shape: tuple[int, ...], statistics: tuple[int, ...], dtype: str = "float32") -> list[Array]:
    """The data, scale, bias, mean, and a variance that is positive."""
    rest = [sample(statistics, dtype, seed=seed) for seed in (1, 2, 3)]
    return [sample(shape, dtype), *rest, sample(statistics, dtype, seed=4, low=0.5)]


def normalized(inputs: Sequence[Array], epsilon: float) -> Array:
    data = inputs[0]
    per_channel = [-1, *[1] * (data.ndim - 2)]
    scale, bias, mean, variance = (a.reshape(per_channel) for a in inputs[1:])
    return np.asarray((data - mean) / np.sqrt(variance + epsilon) * scale + bias, data.dtype)


@pytest.mark.parametrize("since", [1, 6, 7, 9, 14, 15])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 2, 2)])
def test_inference(since: int, shape: tuple[int, ...]) -> None:
    inputs = inputs_for(shape, (3,))
    attributes: dict[str, Any] = {"epsilon": 1e-2, **({"is_test": 1} if since < 7 else {})}
    check_op("BatchNormalization", inputs, since, attributes=attributes, expected=[normalized(inputs, 1e-2)])


@pytest.mark.parametrize("since", [1, 6, 7])
def test_statistics_of_every_element(since: int) -> None:
    data, scale, bias, mean, variance = inputs = inputs_for((2, 3, 4), (3, 4))
    attributes: dict[str, Any] = {"spatial": 0, **({"is_test": 1} if since < 7 else {})}
    expected = ((data - mean) / np.sqrt(variance + 1e-5) * scale + bias).astype(np.float32)
    check_op("BatchNormalization", inputs, since, attributes=attributes, expected=[expected])


@pytest.mark.parametrize("since", [14, 15])
def test_training_gives_running_statistics(since: int) -> None:
    inputs = inputs_for((4, 3, 5), (3,))
    attributes = {"training_mode": 1, "momentum": 0.8}
    check_op("BatchNormalization", inputs, since, attributes=attributes, outputs=3, tolerance=1e-4)


@pytest.mark.parametrize("statistics", ["float16", "float32"])
@pytest.mark.parametrize("parameters", ["float16", "float32"])
def test_element_types_may_differ(parameters: str, statistics: str) -> None:
    data, scale, bias, mean, variance = inputs_for((2, 3, 4), (3,))
    inputs = [data.astype(np.float16), scale.astype(parameters), bias.astype(parameters)]
    inputs += [mean.astype(statistics), variance.astype(statistics)]
    exact = normalized([a.astype(np.float64) for a in inputs], 1e-5).astype(np.float16)
    check_op("BatchNormalization", inputs, 15, expected=[exact], tolerance=5e-3)


@pytest.mark.parametrize("since", [14, 15])
def test_a_vector_is_one_channel(since: int) -> None:
    data, scale, bias, mean, variance = inputs = inputs_for((5,), (1,))
    expected = ((data - mean) / np.sqrt(variance + 1e-5) * scale + bias).astype(np.float32)
    check_op("BatchNormalization", inputs, since, expected=[expected])


def test_exports_with_symbolic_sizes() -> None:
    inputs, others = inputs_for((2, 3, 4, 5), (3,)), inputs_for((5, 3, 7, 6), (3,))
    check_op("BatchNormalization", inputs, 15, constants={1, 2, 3, 4}, symbolic=others)


@pytest.mark.parametrize(("since", "outputs"), [(1, 1), (6, 1), (7, 5), (9, 5)])
def test_training_is_refused_where_it_is_not_spelled_out(since: int, outputs: int) -> None:
    with pytest.raises(UnsupportedError, match="training mode"):
        run_op("BatchNormalization", inputs_for((2, 3, 4), (3,)), since, outputs=outputs)
