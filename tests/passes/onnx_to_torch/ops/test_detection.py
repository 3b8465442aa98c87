"""NonMaxSuppression and RoiAlign."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import Array, check_op, run_op, sample


def boxes(batch: int, count: int, seed: int) -> Array:
    corners = sample((batch, count, 4), seed=seed, low=0, high=4)
    return np.round(corners * 4) / 4  # so that overlaps meet thresholds exactly


def test_none_are_kept_unless_it_says_how_many() -> None:
    found = run_op("NonMaxSuppression", [boxes(1, 4, 0), sample((1, 1, 4))], 11)
    assert found[0].shape == (0, 3)


def test_the_number_of_kept_boxes_is_data_under_export() -> None:
    limits: list[Array] = [np.array([3], np.int64), np.array([0.3], np.float32), np.array([0.1], np.float32)]
    drawn = [[boxes(n, n + 4, n), sample((n, 2, n + 4), low=0, high=1)] for n in (2, 3)]
    first, second = [*drawn[0], *limits], [*drawn[1], *limits]
    check_op("NonMaxSuppression", first, 11, constants=(2, 3, 4), symbolic=second)


REGIONS = np.array([[0, 0, 5, 4], [1.3, 2.2, 4.9, 3.1], [-2, -3, 9, 12], [2, 2, 2, 2]], np.float32)


def test_roi_align_exports_with_symbolic_sizes() -> None:
    attributes = {"output_height": 2, "output_width": 2, "sampling_ratio": 2}
    first = [sample((2, 3, 6, 5)), REGIONS, np.array([0, 1, 1, 0], np.int64)]
    second = [sample((3, 3, 7, 9)), REGIONS[:2], np.array([2, 1], np.int64)]
    check_op("RoiAlign", first, 16, attributes=attributes, symbolic=second)


def test_a_number_of_samples_that_depends_on_the_region_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="sampling_ratio=0"):
        run_op("RoiAlign", [sample((1, 1, 4, 4)), REGIONS, np.zeros(4, np.int64)], 16)
