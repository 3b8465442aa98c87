from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch

from artifacts.dtype import DType
from passes.torch_dtypes import HAS_TORCH_DTYPE, from_numpy, holds, logical_dtype, to_numpy, torch_dtype_of

EVERY = sorted(HAS_TORCH_DTYPE)
LOW_PRECISION = sorted(dtype for dtype in EVERY if not dtype.is_native)


@pytest.mark.parametrize("logical", EVERY)
def test_a_type_goes_to_torch_and_back(logical: DType) -> None:
    assert logical_dtype(torch_dtype_of(logical)) is logical
    array = np.arange(6).astype(logical.numpy).reshape(2, 3)
    tensor = from_numpy(array, logical)
    assert tensor.dtype == torch_dtype_of(logical)
    assert tensor.shape == (2, 3)
    back = to_numpy(tensor)
    assert back.dtype == logical.numpy
    assert np.array_equal(back, array)


@pytest.mark.parametrize("logical", EVERY)
def test_bytes_are_shared_both_ways(logical: DType) -> None:
    array = np.zeros(4, logical.numpy)
    tensor = from_numpy(array, logical)
    assert tensor.data_ptr() == array.ctypes.data
    assert to_numpy(tensor).ctypes.data == array.ctypes.data


@pytest.mark.parametrize("logical", LOW_PRECISION)
def test_arrays_of_the_type_itself_hold_the_same_bits_as_their_carrier(logical: DType) -> None:
    values = np.array([0.0, 1.0, 2.0, 0.5]).astype(getattr(ml_dtypes, logical))
    tensor = from_numpy(values, logical)
    if logical is not DType.FLOAT8_E8M0FNU:  # has no zero
        assert tensor.to(torch.float32).tolist() == [0.0, 1.0, 2.0, 0.5]
    assert np.array_equal(to_numpy(tensor), values.view(logical.numpy))


def test_types_that_torch_has_not_are_left_out() -> None:
    assert {dtype for dtype in DType if dtype.bits < 8} == set(DType) - HAS_TORCH_DTYPE
    with pytest.raises(KeyError):
        torch_dtype_of(DType.INT4)
    with pytest.raises(KeyError):
        logical_dtype(torch.complex32)


def test_rank_zero_stays_rank_zero() -> None:
    tensor = from_numpy(np.array(3.0, np.float32), DType.FLOAT32)
    assert tensor.shape == ()
    assert to_numpy(tensor).shape == ()


@pytest.mark.parametrize("logical", [DType.FLOAT32, DType.BFLOAT16])
def test_arrays_that_are_not_contiguous_are_copied(logical: DType) -> None:
    array = np.arange(12).astype(logical.numpy).reshape(3, 4).T
    assert np.array_equal(to_numpy(from_numpy(array, logical)), array)
    assert np.array_equal(to_numpy(from_numpy(array.T, logical).t()), array)


def test_a_mapped_read_only_file_stays_mapped(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    np.arange(8, dtype=np.float32).tofile(path)
    mapped = np.memmap(path, np.float32, "r")
    assert from_numpy(mapped, DType.FLOAT32).data_ptr() == mapped.ctypes.data


@pytest.mark.parametrize(
    ("kind", "logical"),
    [
        (np.int64, DType.INT32),
        (np.int32, DType.FLOAT32),
        (np.float32, DType.BFLOAT16),
        (np.float16, DType.BFLOAT16),
        (np.int8, DType.FLOAT8_E5M2),
        (ml_dtypes.float8_e4m3fn, DType.FLOAT8_E5M2),
    ],
)
def test_bytes_are_never_read_as_another_type(kind: type, logical: DType) -> None:
    array: npt.NDArray[Any] = np.zeros(4, kind)
    assert not holds(array, logical)
    with pytest.raises(ValueError, match=f"does not hold {logical}"):
        from_numpy(array, logical)
