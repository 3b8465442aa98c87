from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from artifacts.carriers import in_carrier, widened
from artifacts.dtype import DType

CARRIED_FLOATS = [dtype for dtype in DType if dtype.is_float and not dtype.is_native]


@pytest.mark.parametrize("dtype", CARRIED_FLOATS)
def test_every_code_has_the_value_that_ml_dtypes_gives_it(dtype: DType) -> None:
    codes = np.arange(1 << dtype.bits).astype(dtype.numpy)
    expected = codes.view(getattr(ml_dtypes, dtype.value)).astype(np.float32)
    actual = widened(codes, dtype)
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(actual[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.FLOAT16, DType.INT4, DType.BOOL])
def test_what_needs_no_widening_comes_back_as_it_is(dtype: DType) -> None:
    array = np.ones((2, 3), dtype.numpy)
    assert widened(array, dtype) is array


def test_the_shape_stays() -> None:
    assert widened(np.zeros((2, 0, 3), np.uint8), DType.FLOAT8_E5M2).shape == (2, 0, 3)
    assert widened(np.zeros((), np.uint16), DType.BFLOAT16).shape == ()


def test_an_array_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="travels as uint16"):
        widened(np.zeros(2, np.float32), DType.BFLOAT16)


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if not dtype.is_native])
def test_arrays_of_the_type_itself_go_into_their_carrier_by_value(dtype: DType) -> None:
    own = np.array([0, 1, -1 if not dtype.value.startswith("uint") else 1]).astype(getattr(ml_dtypes, dtype))
    carrier = in_carrier(own, dtype)
    assert carrier.dtype == dtype.numpy
    if dtype is not DType.FLOAT8_E8M0FNU:  # has neither zero nor sign
        assert widened(carrier, dtype).tolist() == own.astype(np.float32).tolist()
    assert in_carrier(carrier, dtype) is carrier
    with pytest.raises(ValueError, match=f"does not hold {dtype}"):
        in_carrier(np.zeros(2), dtype)
