from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import check_op, run_op, sample


@pytest.mark.parametrize("since", [1, 6])
@pytest.mark.parametrize("bounds", [{}, {"min": -1.0}, {"max": 1.5}, {"min": -1.0, "max": 1.5}])
def test_bounds_as_attributes(since: int, bounds: dict[str, float]) -> None:
    data = sample((3, 4))
    expected = np.clip(data, bounds.get("min", -np.inf), bounds.get("max", np.inf)).astype(np.float32)
    check_op("Clip", [data], since, attributes=bounds, expected=[expected])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8", "uint16", "uint64"])
@pytest.mark.parametrize("since", [11, 12, 13])
@pytest.mark.parametrize("constant", [True, False])
def test_bounds_as_inputs(since: int, dtype: str, constant: bool) -> None:
    if since == 11 and not dtype.startswith("float"):
        return
    data, low, high = sample((3, 4), dtype), np.array(1, dtype), np.array(3, dtype)
    for inputs in ([data], [data, low], [data, None, high], [data, low, high]):
        check_op("Clip", inputs, since, constants={1, 2} if constant else ())


@pytest.mark.parametrize("constant", [True, False])
def test_crossed_bounds_give_the_upper_one(constant: bool) -> None:
    inputs = [sample((5,)), np.array(2, np.float32), np.array(-1, np.float32)]
    check_op("Clip", inputs, 13, constants={1, 2} if constant else (), expected=[np.full(5, -1, np.float32)])


def test_constants_are_known_and_equal_the_tensors() -> None:
    inputs = [np.array([-9, 0, 9], np.int64), np.array(-2, np.int64), np.array(5, np.int64)]
    (known,) = run_op("Clip", inputs, 13, constants={0, 1, 2})
    np.testing.assert_array_equal(known, [-2, 0, 5])
