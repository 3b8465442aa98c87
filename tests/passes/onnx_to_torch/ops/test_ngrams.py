from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import check_op, run_op, sample

POOL: dict[str, Any] = {
    "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7, 2, 2, 3, 4, 5, 6],
    "ngram_counts": [0, 4, 10],
    "ngram_indexes": [0, 1, 2, 3, 4, 5, 6, 7, 8],
}


def test_it_exports_with_symbolic_sizes() -> None:
    attributes = {"min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 1, "mode": "TF"}
    first, second = (sample(shape, "int64", low=2, high=8) for shape in ((2, 7), (3, 12)))
    check_op("TfIdfVectorizer", [first], 9, attributes={**POOL, **attributes}, symbolic=[second])


def test_weights_of_which_the_order_is_disputed_are_refused() -> None:
    attributes = {"min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 0, "mode": "IDF"}
    swapped = {"ngram_indexes": [1, 0, *range(2, 9)], "weights": [1.0] * 9}
    with pytest.raises(UnsupportedError, match="order of their columns"):
        run_op("TfIdfVectorizer", [np.array([2, 3])], 9, attributes={**POOL, **attributes, **swapped})
