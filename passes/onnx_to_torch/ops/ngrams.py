"""TfIdfVectorizer: how often each of given n-grams occurs in a row of tokens."""

from __future__ import annotations

import numpy as np
import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.constants import as_tensor, float_attribute
from passes.onnx_to_torch.known_math import arange
from passes.onnx_to_torch.registry import op


@op("TfIdfVectorizer", 9)
def tf_idf_vectorizer(call: Call, tokens: torch.Tensor) -> torch.Tensor:
    """`tokens` [C] or [N, C], integers: float32 counts by column, weights where they occur, or their product.

    The items of an n-gram may stand up to `max_skip_count` tokens apart, all the same distance. Single tokens
    count once, whatever the distance.
    """
    if call.has("pool_strings"):
        call.unsupported("strings", "tokenise before the model")
    columns = call.attr_ints("ngram_indexes")
    rows = tokens.reshape(1, -1) if tokens.dim() < 2 else tokens
    counts = torch.zeros([rows.shape[0], max(columns) + 1], dtype=torch.float32)
    for size, ngrams, first in _ngrams(call):
        if not call.attr_int("min_gram_length") <= size <= call.attr_int("max_gram_length"):
            continue
        found = torch.zeros([rows.shape[0], len(ngrams)], dtype=torch.float32)
        for distance in range(1, 2 if size == 1 else call.attr_int("max_skip_count") + 2):
            found = found + _occurrences(rows, ngrams, distance)
        own = np.array(columns[first : first + len(ngrams)], np.int64)
        counts = counts.index_add(1, as_tensor(own), found)
    counts = _weighted(call, counts)
    return counts.reshape(-1) if tokens.dim() < 2 else counts


def _ngrams(call: Call) -> list[tuple[int, np.ndarray[tuple[int, int], np.dtype[np.int64]], int]]:
    """Of each size, its n-grams [count, size] and the number of those before them."""
    pool = np.array(call.attr_ints("pool_int64s"), np.int64)
    starts = call.attr_ints("ngram_counts")
    found = []
    before = 0
    for size, (start, end) in enumerate(zip(starts, [*starts[1:], len(pool)], strict=True), 1):
        count = (end - start) // size
        if count:
            found.append((size, pool[start : start + count * size].reshape(count, size), before))
        before += count
    return found


def _occurrences(
    rows: torch.Tensor, ngrams: np.ndarray[tuple[int, int], np.dtype[np.int64]], distance: int
) -> torch.Tensor:
    """How often each n-gram occurs in each row, its items `distance` tokens apart: float32 [N, n-grams]."""
    length, size = rows.shape[1], ngrams.shape[1]
    places = arange(length)
    # Every place is looked at, so that no count depends on a size; what reaches beyond the row does not count.
    matches = (places + distance * (size - 1) < length).reshape(1, -1, 1)
    for item in range(size):
        shifted = rows.index_select(1, (places + distance * item).clamp(max=length - 1)).unsqueeze(2)
        matches = matches & (shifted == as_tensor(np.ascontiguousarray(ngrams[:, item])).to(rows.dtype))
    return matches.to(torch.float32).sum(1)


def _weighted(call: Call, counts: torch.Tensor) -> torch.Tensor:
    mode = call.attr_text("mode")
    if mode == "TF":
        return counts
    counts = (counts > 0).to(torch.float32) if mode == "IDF" else counts
    if not call.has("weights"):
        return counts
    columns = call.attr_ints("ngram_indexes")
    if columns != list(range(len(columns))):
        # The specification counts weights by n-gram, runtimes count them by column.
        call.unsupported("weights for n-grams that are not in the order of their columns")
    return counts * float_attribute(call, "weights")
