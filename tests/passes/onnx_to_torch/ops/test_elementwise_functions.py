from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import check_op, run_op


def test_round_goes_to_even() -> None:
    data = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    check_op("Round", [data], 22, expected=[np.array([-2, -2, 0, 0, 2, 2], np.float32)])


@pytest.mark.parametrize("op_type", ["Abs", "Neg"])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_constants_are_known_and_equal_the_tensors(op_type: str, dtype: str) -> None:
    data = np.array([-5, 0, 5, np.iinfo(dtype).min], dtype)
    (known,) = run_op(op_type, [data], 13, constants={0})
    np.testing.assert_array_equal(known, run_op(op_type, [data], 13)[0])
