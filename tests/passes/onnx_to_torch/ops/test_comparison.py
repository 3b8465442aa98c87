from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import BroadcastableShapes, mutually_broadcastable_shapes

from tests.support.onnx_ops import FEW, check_op, run_op, sample

COMPARISONS = {
    "Equal": (np.equal, (7, 11, 13, 19)),
    "Greater": (np.greater, (7, 9, 13)),
    "Less": (np.less, (7, 9, 13)),
    "GreaterOrEqual": (np.greater_equal, (12, 16)),
    "LessOrEqual": (np.less_equal, (12, 16)),
}


@pytest.mark.parametrize(("op_type", "since"), [(name, v) for name, (_, since) in COMPARISONS.items() for v in since])
@FEW
@given(
    shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=4),
    dtype=st.sampled_from(["float32", "float64", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]),
)
def test_matches_the_reference(op_type: str, since: int, shapes: BroadcastableShapes, dtype: str) -> None:
    if since == 7:
        dtype = "int32" if op_type == "Equal" else "float32"
    a, b = (sample(shape, dtype, seed=i, low=-2, high=2).round() for i, shape in enumerate(shapes.input_shapes))
    check_op(op_type, [a, b], since)


@pytest.mark.parametrize("op_type", ["Equal", "Greater", "Less"])
def test_in_version_1_axis_says_where_the_second_shape_begins(op_type: str) -> None:
    dtype = "int32" if op_type == "Equal" else "float32"
    a, b = sample((2, 3, 4), dtype), sample((3,), dtype, seed=1)
    expected = [COMPARISONS[op_type][0](a, b[:, None])]
    check_op(op_type, [a, b], 1, attributes={"broadcast": 1, "axis": 1}, expected=expected)


@pytest.mark.parametrize("op_type", list(COMPARISONS))
def test_the_upper_half_of_uint64_is_large(op_type: str) -> None:
    values = np.array([0, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)
    check_op(op_type, [values[:, None], values], 19)


@pytest.mark.parametrize("op_type", list(COMPARISONS))
def test_nan_is_equal_to_nothing(op_type: str) -> None:
    values = np.array([np.nan, np.inf, 0], np.float32)
    check_op(op_type, [values[:, None], values], 19)


@pytest.mark.parametrize("op_type", list(COMPARISONS))
def test_constants_are_known_and_equal_the_tensors(op_type: str) -> None:
    a, b = np.array([1, 2, 3], np.int64), np.array([3, 2, 1], np.int64)
    (known,) = run_op(op_type, [a, b], 19, constants={0, 1})
    np.testing.assert_array_equal(known, run_op(op_type, [a, b], 19)[0])
