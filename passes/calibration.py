"""The range of values that 8 bits stand for, found from the values that were seen.

A wider range clips less and rounds more coarsely. Three ways to choose: the least and the greatest value; those between
which all but a share of the values lie; and the threshold whose clipped and coarsened distribution tells least apart
from the one seen, by relative entropy (Migacz, "8-bit inference with TensorRT", GTC 2017).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from passes.codes import Codes

Method = Literal["min-max", "entropy", "percentile"]

BINS = 2048
LEVELS = 128
"""Of the magnitudes, half of the 256 codes."""
_STRIDE = 8
"""Thresholds are tried at every eighth bin."""

_HARDLY_ONE = 1e-4
"""What a bin counts for in the coarsened distribution if only clipped values are in it: relative entropy needs some."""

Counts = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Affine:
    """Codes of the values (code - zero_point) * scale. Zero has a code of its own."""

    scale: float
    zero_point: int

    @classmethod
    def of(cls, codes: Codes, least: float, greatest: float) -> Affine:
        """The finest codes for all values from `least` to `greatest` and zero."""
        data = codes.data
        least, greatest = min(least, 0.0), max(greatest, 0.0)
        step = (greatest - least) / data.steps if codes.zero_moves else max(-least, greatest) / data.largest
        scale = float(np.float32(max(step, float(np.finfo(np.float32).tiny))))
        zero = int(np.clip(data.least + np.rint(-least / scale), data.least, data.largest)) if codes.zero_moves else 0
        return cls(scale, zero)


@dataclass(frozen=True)
class Seen:
    """The least and the greatest value of a tensor, over all requests.

    `counts` says how many there are in each of BINS equal parts between them, `magnitudes` how many absolute values in
    each of BINS equal parts up to the largest, zeros left out, which have a code of their own wherever a range ends;
    both are None if nobody counted.
    """

    least: float
    greatest: float
    counts: Counts | None = None
    magnitudes: Counts | None = None

    def with_values(self, values: Values) -> Seen:
        """What was seen, and more of it."""
        if not values.size:
            return self
        return Seen(min(self.least, float(values.min())), max(self.greatest, float(values.max())))

    def with_counted(self, values: Values) -> Seen:
        """The same with values counted that lie in its range."""
        counts = np.histogram(values, BINS, (self.least, self.greatest))[0].astype(np.float64)
        magnitudes = np.histogram(np.abs(values[values != 0]), BINS, (0, self.largest))[0].astype(np.float64)
        if self.counts is not None and self.magnitudes is not None:
            counts, magnitudes = counts + self.counts, magnitudes + self.magnitudes
        return replace(self, counts=counts, magnitudes=magnitudes)

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(-self.least, self.greatest)

    def range(self, method: Method, percentile: float) -> tuple[float, float]:
        """What to keep of the range. Raises ValueError if the method needs counts and there are none."""
        if method == "min-max" or self.least == self.greatest:
            return self.least, self.greatest
        if self.counts is None or self.magnitudes is None:
            raise ValueError(f"{method} needs counted values")
        if method == "percentile":
            return percentiles(self.counts, np.linspace(self.least, self.greatest, BINS + 1), percentile)
        threshold = entropy_threshold(self.magnitudes) * self.largest
        return max(self.least, -threshold), min(self.greatest, threshold)


NOTHING = Seen(np.inf, -np.inf)


def percentiles(counts: Counts, edges: Counts, percentile: float) -> tuple[float, float]:
    """The edges between which that share of the values lies, in percent, with as many below as above."""
    shares = np.cumsum(counts) / counts.sum()
    outside = (1 - percentile / 100) / 2
    low = int(np.searchsorted(shares, outside, side="right"))
    high = int(np.searchsorted(shares, 1 - outside))
    return float(edges[low]), float(edges[min(high, len(counts) - 1) + 1])


def entropy_threshold(counts: Counts, levels: int = LEVELS, stride: int = _STRIDE) -> float:
    """Where to clip magnitudes, as a share of the largest, whose counts in equal bins are given."""
    best, threshold = np.inf, 1.0
    for kept in range(levels, len(counts) + 1, stride):
        divergence = _divergence(counts, kept, levels)
        if divergence < best:
            best, threshold = divergence, kept / len(counts)
    return threshold


def _divergence(counts: Counts, kept: int, levels: int) -> float:
    """The relative entropy of what is seen, clipped at a bin, to the same in a number of levels."""
    inside = counts[:kept]
    clipped = inside.copy()
    clipped[-1] += counts[kept:].sum()
    level = np.arange(kept) * levels // kept
    is_there = inside > 0
    sums = np.bincount(level, inside, levels)
    places = np.bincount(level, is_there, levels)
    coarse = np.where(is_there, sums[level] / np.maximum(places[level], 1), 0.0)
    seen = clipped > 0
    p, q = clipped[seen], np.maximum(coarse[seen], _HARDLY_ONE)
    return float(np.sum(p / p.sum() * np.log(p / p.sum() * q.sum() / q)))
