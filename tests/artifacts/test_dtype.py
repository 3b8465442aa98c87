from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from artifacts.dtype import DType


@pytest.mark.parametrize("dtype", list(DType))
def test_the_carrier_has_the_width_of_one_unpacked_element(dtype: DType) -> None:
    assert dtype.numpy.itemsize * 8 == max(8, dtype.bits)


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype.is_native])
def test_a_type_that_numpy_has_is_its_own_carrier(dtype: DType) -> None:
    assert DType.of(dtype.numpy) is dtype
    assert dtype.numpy.name == dtype.value


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if not dtype.is_native])
def test_the_other_types_are_found_by_the_name_that_ml_dtypes_gives_them(dtype: DType) -> None:
    theirs = np.dtype(getattr(ml_dtypes, dtype.value))
    assert DType.of(theirs) is dtype
    assert theirs.itemsize == dtype.numpy.itemsize


@pytest.mark.parametrize(("dtype", "bits"), [(DType.BOOL, 8), (DType.INT4, 4), (DType.UINT2, 2), (DType.BFLOAT16, 16)])
def test_bits_are_those_of_one_packed_element(dtype: DType, bits: int) -> None:
    assert dtype.bits == bits


def test_each_type_is_of_one_sort_at_most() -> None:
    floats = {dtype for dtype in DType if dtype.is_float}
    integers = {dtype for dtype in DType if dtype.is_integer}
    assert not floats & integers
    assert set(DType) - floats - integers == {DType.BOOL, DType.COMPLEX64, DType.COMPLEX128}


@pytest.mark.parametrize("dtype", [np.dtype("U3"), np.dtype("O"), np.dtype("datetime64[s]")])
def test_what_no_tensor_can_hold_is_refused(dtype: np.dtype[np.generic]) -> None:
    with pytest.raises(ValueError, match="not a valid DType"):
        DType.of(dtype)
