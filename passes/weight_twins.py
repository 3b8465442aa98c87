"""Find weights that are another one turned, or another one in a wider type.

Some elements of each tell which pairs to look at; those pairs are then compared in full. Pages of mapped weights are
given back after each look: the system maps far more of a file than the elements that were looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from artifacts.mapped_pages import give_back_pages
from artifacts.weights import WeightRef, WeightStore
from passes.torch_dtypes import HAS_TORCH_DTYPE, from_numpy, torch_dtype_of

Pair: TypeAlias = tuple[WeightRef, WeightRef]

_SAMPLED = 32
_CHUNK = 1 << 20
"""Elements that are compared at a time."""


def turned_pairs(refs: Sequence[WeightRef], store: WeightStore) -> list[Pair]:
    """Matrices [rows, columns] and [columns, rows] of which each is the other one turned, every pair once.

    A matrix that is its own transpose is in no pair, nor are two references to the same bytes.
    """
    matrices = {ref: _integers(store, ref) for ref in refs if len(ref.shape) == 2 and min(ref.shape) > 1}
    as_they_are: dict[object, list[WeightRef]] = {}
    pairs: list[Pair] = []
    for ref, matrix in matrices.items():
        key = (ref.dtype, ref.shape[::-1], _sample(matrix.T))
        for other in as_they_are.get(key, []):
            if not _overlap(ref, other) and _is_turn(matrix, matrices[other]):
                pairs.append((other, ref))
        as_they_are.setdefault((ref.dtype, ref.shape, _sample(matrix)), []).append(ref)
    return pairs


def _integers(store: WeightStore, ref: WeightRef) -> npt.NDArray[Any]:
    """The elements as bits, so that NaN equals itself and zeros of both signs differ."""
    return store.array(ref).view(f"<u{ref.dtype.numpy.itemsize}" if ref.dtype.numpy.itemsize <= 8 else "<V16")


def _sample(matrix: npt.NDArray[Any]) -> bytes:
    """Some elements, spread over rows and columns."""
    rows, columns = (np.arange(_SAMPLED) * step % size for step, size in zip((7919, 104729), matrix.shape, strict=True))
    sample: bytes = matrix[rows, columns].tobytes()
    give_back_pages(matrix)
    return sample


def _overlap(one: WeightRef, other: WeightRef) -> bool:
    ends = (one.offset < other.offset + other.nbytes, other.offset < one.offset + one.nbytes)
    return one.digest == other.digest and all(ends)


def _is_turn(matrix: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    rows = max(1, _CHUNK // matrix.shape[1])
    found = all(
        np.array_equal(matrix[start : start + rows], other[:, start : start + rows].T)
        for start in range(0, len(matrix), rows)
    )
    give_back_pages(matrix)
    give_back_pages(other)
    return found


def cast_pairs(refs: Sequence[WeightRef], store: WeightStore) -> list[Pair]:
    """Weights whose elements are those of another in a narrower type, bit for bit after a cast; the wider one first.

    Integers are paired with integers and floats with floats. Each wider one is in one pair, with the narrowest.
    """
    groups: dict[object, list[WeightRef]] = {}
    for ref in refs:
        if (ref.dtype.is_float or ref.dtype.is_integer) and ref.dtype in HAS_TORCH_DTYPE:
            groups.setdefault((ref.dtype.is_float, ref.size, _widened_sample(ref, store)), []).append(ref)
    return [pair for group in groups.values() for pair in _pairs_of(group, store)]


def _widened_sample(ref: WeightRef, store: WeightStore) -> bytes:
    elements = store.array(ref).reshape(-1)[np.arange(_SAMPLED) * 7919 % max(ref.size, 1)]
    give_back_pages(store.raw(ref))
    widest = torch.float64 if ref.dtype.is_float else torch.int64
    sample: bytes = from_numpy(elements, ref.dtype).to(widest).numpy().tobytes()
    return sample


def _pairs_of(group: Sequence[WeightRef], store: WeightStore) -> Iterator[Pair]:
    by_width = sorted(group, key=lambda ref: ref.dtype.numpy.itemsize)
    for wide in group:
        width = wide.dtype.numpy.itemsize
        narrower = (ref for ref in by_width if ref.dtype.numpy.itemsize < width)
        narrow = next((ref for ref in narrower if _is_cast(wide, ref, store)), None)
        if narrow is not None:
            yield wide, narrow


def _is_cast(wide: WeightRef, narrow: WeightRef, store: WeightStore) -> bool:
    wanted, given = _integers(store, wide).reshape(-1), store.array(narrow).reshape(-1)

    def is_cast_from(start: int) -> bool:
        piece = from_numpy(given[start : start + _CHUNK], narrow.dtype).to(torch_dtype_of(wide.dtype))
        return np.array_equal(piece.view(torch.uint8).numpy().view(wanted.dtype), wanted[start : start + _CHUNK])

    found = all(map(is_cast_from, range(0, wide.size, _CHUNK)))
    give_back_pages(wanted)
    give_back_pages(given)
    return found
