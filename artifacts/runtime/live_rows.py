"""Which rows of a batch a decode goes on with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DROPPED_SHARE = 0.25
"""Rows are dropped when at least this part of those that are left has ended.

To drop is to copy what the others carry, about what a step reads of it, so it pays within a few steps, unless it is
done for every row that ends. On examples/ocr shares from an eighth to a half were within noise of each other, in
batches of 8 and 32.
"""


def rows_to_keep(going: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
    """The rows that go on, int64 [kept], if it pays to drop the others; `going` is bool [rows].

    None if all stay: too few have ended, or all have and nothing goes on.
    """
    kept = np.flatnonzero(going)
    return kept if 0 < kept.size <= (1 - DROPPED_SHARE) * going.size else None
