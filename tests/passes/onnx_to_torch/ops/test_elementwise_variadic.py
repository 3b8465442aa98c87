from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import check_op, run_op


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
