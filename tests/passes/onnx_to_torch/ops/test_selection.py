from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import BroadcastableShapes, mutually_broadcastable_shapes

from tests.support.onnx_ops import FEW, check_model, check_op, run_op, sample

DTYPES = ["float32", "float16", "float64", "int8", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]


@pytest.mark.parametrize("since", [9, 16])
@FEW
@given(shapes=mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=4), dtype=st.sampled_from(DTYPES))
def test_where(since: int, shapes: BroadcastableShapes, dtype: str) -> None:
    condition, a, b = shapes.input_shapes
    check_op("Where", [sample(condition, "bool"), sample(a, dtype), sample(b, dtype, seed=1)], since)


def test_where_of_constants_is_known() -> None:
    inputs = [np.array([True, False, True]), np.array([1, 2, 3], np.int64), np.array([-1], np.int64)]
    (known,) = run_op("Where", inputs, 16, constants={0, 1, 2})
    np.testing.assert_array_equal(known, [1, -1, 3])


def test_a_choice_between_sizes_stays_symbolic() -> None:
    """How exporters write x.expand(shape) where some of the shape is -1."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        graph (float[n, t] x, float[n, 1, t] mask) => (float[n, k, t] y) {
            shape = Shape(x)
            one = Constant<value_ints = [1]>()
            keep = Constant<value_ints = [-1]>()
            n, t = Split<axis = 0>(shape)
            target = Concat<axis = 0>(n, keep, t)
            rank = Shape(target)
            ones = ConstantOfShape<value = int64[1] {1}>(rank)
            isone = Equal(target, keep)
            full = Where(isone, ones, target)
            y = Expand(mask, full)
        }
    """)
    arrays = [sample((2, 5)), sample((2, 1, 5))]
    check_model(model, arrays, symbolic=[sample((3, 4)), sample((3, 1, 4))])


@pytest.mark.parametrize("since", [9, 13])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nonzero(since: int, dtype: str) -> None:
    data = sample((3, 4), dtype, low=0, high=1) * sample((3, 4), "bool").astype(dtype)
    check_op("NonZero", [data], since, expected=[np.stack(np.nonzero(data))])


def test_nonzero_of_a_scalar_and_of_nothing() -> None:
    check_op("NonZero", [np.array(3, np.int32)], 13, expected=[np.zeros((1, 1), np.int64)])
    check_op("NonZero", [np.array(0, np.int32)], 13, expected=[np.zeros((1, 0), np.int64)])
    check_op("NonZero", [np.zeros((2, 3), np.float32)], 13)


def test_nonzero_follows_the_data() -> None:
    check_op("NonZero", [sample((3, 4), "bool")], 13, symbolic=[sample((5, 2), "bool", seed=3)])


def test_nonzero_of_constants_is_known() -> None:
    for data in (np.array([0, 3, 0, 1], np.int64), np.array([True, False]), np.array(5, np.int32)):
        (known,) = run_op("NonZero", [data], 13, constants={0})
        np.testing.assert_array_equal(known, np.stack(np.nonzero(np.atleast_1d(data))))


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("since", [9, 11, 28])
@FEW
@given(axis=st.none() | st.integers(-2, 1), seed=st.integers(0, 9), dtype=st.sampled_from(DTYPES))
def test_compress(since: int, constant: bool, axis: int | None, seed: int, dtype: str) -> None:
    if since == 9 and axis is not None:
        axis %= 2
    # Shorter than the axis: what the condition does not reach is left out.
    condition = sample((3,), "bool", seed=seed)
    attributes = {} if axis is None else {"axis": axis}
    constants = {1} if constant else ()
    check_op("Compress", [sample((4, 5), dtype), condition], since, attributes=attributes, constants=constants)


@pytest.mark.parametrize("since", [11, 28])
@FEW
@given(axis=st.none() | st.integers(-3, 2), ordered=st.integers(0, 1), seed=st.integers(0, 99))
def test_unique(since: int, axis: int | None, ordered: int, seed: int) -> None:
    data = sample((3, 2, 4), "int64", seed=seed, low=0, high=1)
    attributes = {"sorted": ordered} | ({} if axis is None else {"axis": axis})
    values, first, inverse, counts = run_op("Unique", [data], since, attributes=attributes, outputs=4)
    wanted, wanted_first, wanted_counts = np.unique(data, return_index=True, return_counts=True, axis=axis)
    order = np.arange(len(wanted_first)) if ordered else np.argsort(wanted_first)
    np.testing.assert_array_equal(values, wanted.take(order, axis or 0))
    np.testing.assert_array_equal(first, wanted_first[order])
    np.testing.assert_array_equal(counts, wanted_counts[order])
    whole = data.reshape(-1) if axis is None else data
    np.testing.assert_array_equal(values.take(inverse, axis or 0), whole)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint8"])
def test_unique_of_other_types(dtype: str) -> None:
    check_op("Unique", [sample((3, 4), dtype, low=0, high=2)], 11, outputs=4)
