from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from artifacts.dtype import DType
from artifacts.tolerances import EXACT, Tolerance, compare, tolerance_for

Array = npt.NDArray[Any]
LOOSE = Tolerance(atol=1e-3, rtol=1e-2)
FLOATS = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
TOLERANCES = st.builds(Tolerance, atol=st.floats(0, 10), rtol=st.floats(0, 1))


def tensor(*values: float) -> Array:
    return np.array(values, np.float32)


@given(FLOATS, TOLERANCES)
def test_a_tensor_equals_itself_under_any_tolerance(array: Array, tolerance: Tolerance) -> None:
    found = compare(array, array.copy(), tolerance)
    assert found.passed
    assert (found.max_abs, found.max_rel, found.required, found.worst) == (0, 0, 0, None)


@given(st.data(), TOLERANCES)
def test_it_passes_exactly_what_numpy_passes(data: st.DataObject, tolerance: Tolerance) -> None:
    expected = data.draw(FLOATS)
    actual = data.draw(hnp.arrays(expected.dtype, expected.shape))
    with np.errstate(over="ignore", invalid="ignore"):
        wide_expected, wide_actual = expected.astype(np.float64), actual.astype(np.float64)
        close = np.isclose(wide_actual, wide_expected, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True)
    found = compare(expected, actual, tolerance)
    assert found.passed == bool(close.all())
    assert found.mismatched == int(np.count_nonzero(~close))


@given(st.data())
def test_the_required_factor_is_the_smallest_that_passes(data: st.DataObject) -> None:
    values = st.floats(-100, 100, width=32)
    expected = data.draw(hnp.arrays(np.float32, (5,), elements=values))
    actual = data.draw(hnp.arrays(np.float32, (5,), elements=values))
    required = compare(expected, actual, LOOSE).required
    for factor, passes in ((1.0001, True), (0.9999, required == 0)):
        scaled = Tolerance(atol=LOOSE.atol * required * factor, rtol=LOOSE.rtol * required * factor)
        assert compare(expected, actual, scaled).passed == passes


def test_the_measures_of_a_known_case() -> None:
    found = compare(tensor(1, 2, 0, 4), tensor(1, 2.5, 0.25, 4), Tolerance(atol=0.5, rtol=0))
    assert found.passed
    assert (found.max_abs, found.max_rel, found.required, found.worst) == (0.5, 0.25, 1.0, (1,))
    assert str(found) == "max_abs 0.5, max_rel 0.25, 1 of the tolerance"
    found = compare(tensor(1, 2, 0, 4), tensor(1, 2.5, 0.25, 4), Tolerance(atol=0.125, rtol=0))
    assert (found.passed, found.mismatched, found.required) == (False, 2, 4.0)
    assert "2 of 4 differ, worst at (1,)" in str(found)


@pytest.mark.parametrize(
    ("expected", "actual", "passes"),
    [
        (math.nan, math.nan, True),
        (math.inf, math.inf, True),
        (-math.inf, -math.inf, True),
        (math.inf, -math.inf, False),
        (math.nan, 0.0, False),
        (0.0, math.nan, False),
        (math.inf, 1e30, False),
        (1e30, math.inf, False),
        (math.nan, math.inf, False),
        (0.0, -0.0, True),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
def test_only_equal_infinities_and_nans_in_the_same_place_agree(
    expected: float, actual: float, passes: bool, dtype: npt.DTypeLike
) -> None:
    huge = Tolerance(atol=1e30, rtol=1e30)
    found = compare(np.array([1, expected], dtype), np.array([1, actual], dtype), huge)
    assert found.passed == passes
    if not passes:
        assert (found.max_abs, found.max_rel, found.required, found.worst) == (
            math.inf,
            math.inf,
            math.inf,
            (1,),
        )


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        (np.int64, -(2**63), 2**63 - 1),
        (np.uint64, 0, 2**64 - 1),
        (np.int8, -128, 127),
        (np.bool_, 0, 1),
    ],
)
def test_integers_are_subtracted_without_overflow(dtype: npt.DTypeLike, low: int, high: int) -> None:
    left, right = np.array([low, high], dtype), np.array([high, low], dtype)
    found = compare(left, right, EXACT)
    assert found.max_abs == float(high - low)
    assert found.mismatched == 2


def test_neighbouring_large_integers_differ() -> None:
    left = np.array([2**62], np.int64)
    found = compare(left, left + 1, EXACT)
    assert (found.passed, found.max_abs) == (False, 1.0)


def test_low_precision_values_are_compared_not_their_bits() -> None:
    bits = np.array([0x3F80, 0x8000], np.uint16)  # 1.0 and -0.0
    near = np.array([0x3F81, 0x0000], np.uint16)  # 1.0078125 and 0.0
    found = compare(bits, near, tolerance_for(DType.BFLOAT16), DType.BFLOAT16)
    assert found.passed
    assert found.max_abs == 0.0078125


def test_a_complex_difference_is_its_absolute_value() -> None:
    found = compare(np.array([1 + 1j]), np.array([4 + 5j]), EXACT)
    assert found.max_abs == 5.0


@pytest.mark.parametrize("actual", [np.zeros((2, 1), np.float32), np.zeros(3, np.float32), np.zeros(2, np.float64)])
def test_another_shape_or_type_does_not_pass_and_says_so(actual: Array) -> None:
    found = compare(np.zeros(2, np.float32), actual, LOOSE)
    assert not found.passed
    assert "expected float32[2]" in str(found)


def test_the_worst_element_is_found_in_any_layout_and_beyond_one_chunk() -> None:
    expected = np.zeros((700, 801), np.float32)
    actual = expected.copy()
    actual[650, 13], actual[3, 700] = 2.0, 1.0
    for left, right in ((expected, actual), (np.asfortranarray(expected), actual)):
        assert compare(left, right, LOOSE).worst == (650, 13)
    assert compare(expected[::-2, ::3], actual[::-2, ::3], LOOSE).max_abs == 0.0
    assert compare(expected.T, actual.T, LOOSE).worst == (13, 650)


def test_memory_does_not_grow_with_the_tensors() -> None:
    expected = np.zeros((4096, 2048), np.float32)
    tracemalloc.start()
    compare(expected, expected.copy().T.copy().T, LOOSE)
    copies, (_, peak) = 2 * expected.nbytes, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - copies < expected.nbytes


@pytest.mark.parametrize("dtype", [DType.INT8, DType.BOOL, DType.UINT64, DType.INT4])
def test_integers_have_to_be_equal(dtype: DType) -> None:
    assert tolerance_for(dtype) == EXACT


def test_less_precision_never_has_a_tighter_tolerance() -> None:
    order = [
        DType.FLOAT64,
        DType.FLOAT32,
        DType.FLOAT16,
        DType.BFLOAT16,
        DType.FLOAT8_E4M3FN,
        DType.FLOAT8_E5M2,
    ]
    bounds = [tolerance_for(dtype).rtol for dtype in order]
    assert bounds == sorted(bounds)
