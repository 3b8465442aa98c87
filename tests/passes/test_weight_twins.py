from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.dtype import DType
from artifacts.weights import WeightRef, WeightStore
from passes.weight_twins import cast_pairs, turned_pairs
from tests.artifacts.test_mapped_pages import mapped, resident
from tests.support.programs import Array, normal


def stored(*arrays: Array) -> tuple[WeightStore, tuple[WeightRef, ...]]:
    return WeightStore().with_tensors((array, None) for array in arrays)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(2, 70), st.integers(2, 70), st.integers(0, 1 << 30), st.booleans())
def test_a_transpose_is_found_and_one_that_differs_in_an_element_is_not(
    rows: int, columns: int, place: int, differs: bool
) -> None:
    matrix = normal(rows, columns)
    turned = matrix.T.copy()
    if differs:
        turned.reshape(-1)[place % turned.size] += 1
    store, refs = stored(matrix, turned)
    assert turned_pairs(refs, store) == ([] if differs else [refs])


def test_bits_are_compared() -> None:
    matrix = np.array([[0.0, np.nan, 1.0], [2.0, 3.0, 4.0]], np.float32)
    minus = matrix.T.copy()
    minus[0, 0] = -0.0
    store, (first, second, _) = stored(matrix, matrix.T.copy(), minus)
    assert turned_pairs((first, second, _), store) == [(first, second)]


def test_a_symmetric_matrix_and_vectors_are_no_pair() -> None:
    square = np.eye(4, dtype=np.float32)
    store, refs = stored(square, normal(1, 8), normal(8, 1))
    assert turned_pairs(refs, store) == []


def test_types_of_a_transpose_have_to_agree() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    store, refs = stored(matrix, matrix.T.copy().view(np.int32))
    assert turned_pairs(refs, store) == []


@pytest.mark.parametrize("narrow", [np.float16, ml_dtypes.bfloat16])
def test_a_float_that_was_rounded_is_a_cast(narrow: type) -> None:
    low: Array = normal(9, 5).astype(narrow)
    store, (wide, short, rounded) = stored(low.astype(np.float32), low, normal(9, 5))
    assert cast_pairs((wide, short, rounded), store) == [(wide, short)]
    assert short.dtype in (DType.FLOAT16, DType.BFLOAT16)


def test_integers_are_a_cast_of_integers_and_of_the_narrowest() -> None:
    numbers = np.arange(-3, 40)
    store, refs = stored(numbers, numbers.astype(np.int32), numbers.astype(np.int8), numbers.astype(np.float32))
    assert cast_pairs(refs, store) == [(refs[0], refs[2]), (refs[1], refs[2])]


def test_an_element_that_does_not_come_back_is_no_cast() -> None:
    numbers = np.arange(4000)
    short = numbers.astype(np.int32)
    numbers[3777] = 1 << 40
    store, refs = stored(numbers, short)
    assert cast_pairs(refs, store) == []


def test_minus_zero_does_not_come_from_zero() -> None:
    store, refs = stored(np.array([-0.0, 1.0], np.float32), np.array([0.0, 1.0], np.float16))
    assert cast_pairs(refs, store) == []


def test_mapped_contents_are_in_no_memory_afterwards(tmp_path: Path) -> None:
    """Also those that are in no pair: some elements of each were looked at."""
    matrix = normal(160, 170).astype(np.float16)
    arrays: list[Array] = [matrix, matrix.T.copy(), matrix.astype(np.float32), normal(170, 160), normal(64, 64)]
    files = [tmp_path / str(number) for number in range(len(arrays))]
    for file, array in zip(files, arrays, strict=True):
        file.write_bytes(array.tobytes())
    views = (mapped(file).view(array.dtype).reshape(array.shape) for file, array in zip(files, arrays, strict=True))
    store, refs = stored(*views)
    assert turned_pairs(refs, store) == [(refs[0], refs[1])]
    assert cast_pairs(refs, store) == [(refs[2], refs[0])]
    assert [resident(file) for file in files] == [0] * len(files)
