from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import BroadcastableShapes, mutually_broadcastable_shapes

from tests.support.onnx_ops import FEW, check_op, run_op, sample


@pytest.mark.parametrize("since", [8, 13])
@pytest.mark.parametrize("op_type", ["Max", "Min", "Sum", "Mean"])
@FEW
@given(shapes=mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=4), count=st.integers(1, 3))
def test_any_number_of_tensors_broadcasts(op_type: str, since: int, shapes: BroadcastableShapes, count: int) -> None:
    arrays = [sample(shape, seed=i) for i, shape in enumerate(shapes.input_shapes[:count])]
    function = {"Max": np.maximum, "Min": np.minimum}.get(op_type, np.add)
    expected = np.asarray(reduce(function, arrays), np.float32)
    check_op(op_type, arrays, since, expected=[expected / count if op_type == "Mean" else expected])


@pytest.mark.parametrize("since", [1, 6])
@pytest.mark.parametrize("op_type", ["Max", "Min", "Sum", "Mean"])
def test_before_broadcasting(op_type: str, since: int) -> None:
    check_op(op_type, [sample((3, 4), seed=i) for i in range(3)], since)


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", "uint16", "uint32", "uint64", "float64"])
@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_extremes_of_every_element_type(op_type: str, dtype: str) -> None:
    limits = np.iinfo(dtype) if dtype != "float64" else np.finfo(dtype)
    edges = np.array([limits.max, limits.min, 3, 0], dtype)
    check_op(op_type, [edges, edges[::-1].copy()], 13)
    check_op(op_type, [edges, edges[::-1].copy()], 12)


@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_constants_are_known_and_equal_the_tensors(op_type: str) -> None:
    arrays = [np.array([3, -4, 9], np.int64), np.array([5], np.int64), np.array([1, 7, 7], np.int64)]
    (known,) = run_op(op_type, arrays, 13, constants={0, 1, 2})
    np.testing.assert_array_equal(known, run_op(op_type, arrays, 13)[0])
