from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.quantization.calibrate import HistogramCollector

from passes.calibration import BINS, NOTHING, Affine, Method, Seen, entropy_threshold, percentiles
from passes.codes import CODES
from tests.support.programs import normal

FINITE = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@given(FINITE, FINITE)
def test_zero_and_both_ends_have_codes_that_are_at_most_half_a_step_off(one: float, other: float) -> None:
    least, greatest = min(one, other), max(one, other)
    affine = Affine.of(CODES["uint8"], least, greatest)
    assert 0 <= affine.zero_point <= 255
    for value in (min(least, 0.0), 0.0, max(greatest, 0.0)):
        code = np.clip(np.rint(value / affine.scale) + affine.zero_point, 0, 255)
        # The zero is rounded too, so an end may be a little beyond the last code.
        assert abs((code - affine.zero_point) * affine.scale - value) <= affine.scale * 0.501


def seen(*parts: np.ndarray) -> Seen:
    found = NOTHING
    for part in parts:
        found = found.with_values(part)
    for part in parts:
        found = found.with_counted(part)
    return found


def test_parts_of_the_values_are_seen_as_all_of_them() -> None:
    values = normal(1000)
    whole, parts = seen(values), seen(values[:300], values[300:300], values[300:])
    assert (whole.least, whole.greatest) == (parts.least, parts.greatest) == (values.min(), values.max())
    np.testing.assert_array_equal(whole.counts, parts.counts)
    np.testing.assert_array_equal(whole.magnitudes, parts.magnitudes)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentiles_are_numpys_within_a_bin(percentile: float) -> None:
    values = normal(100_000)
    counts, edges = np.histogram(values, BINS)
    low, high = percentiles(counts.astype(float), edges.astype(float), percentile)
    outside = (100 - percentile) / 2
    expected = np.percentile(values, [outside, 100 - outside])
    np.testing.assert_allclose([low, high], expected, atol=1.01 * (edges[1] - edges[0]))


def long_tailed() -> np.ndarray:
    """A bell, and a few values far outside of it."""
    return np.concatenate([normal(200_000), normal(40, seed=1) * 20]).astype(np.float32)


@pytest.mark.parametrize(("outliers", "factor"), [(0, 1), (400, 5), (2000, 8)])
def test_relative_entropy_clips_about_where_onnx_runtime_does(outliers: int, factor: int) -> None:
    values = np.abs(np.concatenate([normal(200_000, seed=3), normal(outliers, seed=1) * np.float32(factor)]))
    collector = HistogramCollector(
        method="entropy", symmetric=True, num_bins=BINS, num_quantized_bins=128, percentile=99.99, scenario="same"
    )
    collector.collect({"x": [values]})
    low, high, *_ = collector.compute_collection_result()["x"]
    threshold = entropy_threshold(np.histogram(values, BINS)[0].astype(float)) * float(values.max())
    assert threshold == pytest.approx(max(-float(low), float(high)), rel=0.15)


@pytest.mark.parametrize(("method", "is_clipped"), [("min-max", False), ("percentile", True), ("entropy", True)])
def test_what_a_method_keeps_lies_inside_what_was_seen(method: Method, is_clipped: bool) -> None:
    values = long_tailed()
    low, high = seen(values).range(method, 99.9)
    assert values.min() <= low < 0 < high <= values.max()
    assert (high < values.max() / 2) == is_clipped


def test_values_that_are_all_one_have_a_range() -> None:
    for method in ("min-max", "percentile", "entropy"):
        assert seen(np.zeros(5, np.float32)).range(method, 99.9) == (0, 0)
    assert Affine.of(CODES["uint8"], 0.0, 0.0).zero_point == 0


def test_a_method_that_needs_counts_says_so() -> None:
    with pytest.raises(ValueError, match="counted"):
        Seen(-1, 1).range("entropy", 99.9)
