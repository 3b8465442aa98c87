from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import BroadcastableShapes, mutually_broadcastable_shapes

from tests.support.onnx_ops import FEW, check_op, run_op, sample

CONNECTIVES = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
SHAPES = mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=4)


@pytest.mark.parametrize("op_type", list(CONNECTIVES))
@FEW
@given(shapes=SHAPES)
def test_connectives(op_type: str, shapes: BroadcastableShapes) -> None:
    a, b = (sample(shape, bool, seed=i) for i, shape in enumerate(shapes.input_shapes))
    check_op(op_type, [a, b], 7)


@pytest.mark.parametrize("op_type", list(CONNECTIVES))
def test_in_version_1_axis_says_where_the_second_shape_begins(op_type: str) -> None:
    a, b = sample((2, 3, 4), bool), sample((3,), bool, seed=1)
    expected = [CONNECTIVES[op_type](a, b[:, None])]
    check_op(op_type, [a, b], 1, attributes={"broadcast": 1, "axis": 1}, expected=expected)


def test_not() -> None:
    check_op("Not", [sample((3, 4), bool)], 1)


@pytest.mark.parametrize("op_type", list(CONNECTIVES))
def test_constants_are_known_and_equal_the_tensors(op_type: str) -> None:
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    (known,) = run_op(op_type, [a, b], 7, constants={0, 1})
    np.testing.assert_array_equal(known, run_op(op_type, [a, b], 7)[0])
    np.testing.assert_array_equal(run_op("Not", [a], 7, constants={0})[0], ~a)


@pytest.mark.parametrize("op_type", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_bitwise(op_type: str, dtype: str) -> None:
    limits = np.iinfo(dtype)
    a, b = (sample(shape, dtype, seed=i, low=limits.min, high=limits.max) for i, shape in enumerate([(3, 4), (4,)]))
    check_op(op_type, [a, b], 18)
    check_op("BitwiseNot", [a], 18)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", INTEGERS)
@FEW
@given(seed=st.integers(0, 99))
def test_shifts(dtype: str, direction: str, seed: int) -> None:
    limits = np.iinfo(dtype)
    data = sample((3, 8), dtype, seed=seed, low=limits.min, high=limits.max)
    amount = sample((8,), dtype, seed=seed + 1, low=0, high=limits.bits - 1)
    for since in (11, 28) if dtype.startswith("u") else (28,):
        check_op("BitShift", [data, amount], since, attributes={"direction": direction})


@pytest.mark.parametrize("dtype", INTEGERS)
def test_shifts_by_more_than_there_are_bits(dtype: str) -> None:
    limits = np.iinfo(dtype)
    data = np.array([limits.max, limits.min, 1], dtype)
    amount = np.full(3, limits.bits, dtype)
    check_op("BitShift", [data, amount], 28, attributes={"direction": "LEFT"}, expected=[np.zeros(3, dtype)])
    sign = np.where(data < 0, -1, 0).astype(dtype)
    check_op("BitShift", [data, amount], 28, attributes={"direction": "RIGHT"}, expected=[sign])
