from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import FEW, check_op, run_op, sample

POOL: dict[str, Any] = {
    "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7, 2, 2, 3, 4, 5, 6],
    "ngram_counts": [0, 4, 10],
    "ngram_indexes": [0, 1, 2, 3, 4, 5, 6, 7, 8],
}


@FEW
@given(
    tokens=st.lists(st.integers(2, 8), min_size=1, max_size=9),
    sizes=st.sampled_from([(1, 1), (1, 2), (2, 2), (1, 3), (3, 3), (2, 3)]),
    skip=st.integers(0, 3),
    mode=st.sampled_from(["TF", "IDF", "TFIDF"]),
    dtype=st.sampled_from(["int32", "int64"]),
)
def test_counts(tokens: list[int], sizes: tuple[int, int], skip: int, mode: str, dtype: str) -> None:
    attributes = {"min_gram_length": sizes[0], "max_gram_length": sizes[1], "max_skip_count": skip, "mode": mode}
    weights = {} if mode == "TF" else {"weights": [0.5 * n for n in range(9)]}
    row = np.array(tokens, dtype)
    for data in (row, np.stack([row, row[::-1]])):
        check_op("TfIdfVectorizer", [data], 9, attributes={**POOL, **attributes, **weights})


def test_it_exports_with_symbolic_sizes() -> None:
    attributes = {"min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 1, "mode": "TF"}
    first, second = (sample(shape, "int64", low=2, high=8) for shape in ((2, 7), (3, 12)))
    check_op("TfIdfVectorizer", [first], 9, attributes={**POOL, **attributes}, symbolic=[second])


def test_weights_of_which_the_order_is_disputed_are_refused() -> None:
    attributes = {"min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 0, "mode": "IDF"}
    swapped = {"ngram_indexes": [1, 0, *range(2, 9)], "weights": [1.0] * 9}
    with pytest.raises(UnsupportedError, match="order of their columns"):
        run_op("TfIdfVectorizer", [np.array([2, 3])], 9, attributes={**POOL, **attributes, **swapped})
