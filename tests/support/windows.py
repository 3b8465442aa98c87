"""Windows over images straight from their definition, in numpy: what convolutions and pools are compared with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.support.onnx_ops import Array


@dataclass(frozen=True)
class Area:
    """Kernel, strides and dilations by spatial axis, pads as ONNX orders them, and how they are to be rounded."""

    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    pads: Sequence[int]
    ceil: bool = False
    auto_pad: str = "NOTSET"

    @property
    def rank(self) -> int:
        return len(self.kernel)

    @property
    def extents(self) -> list[int]:
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    def padded(self, sizes: Sequence[int]) -> Area:
        """The same with the padding that `auto_pad` asks for: windows for each multiple of the stride."""
        if self.auto_pad in ("NOTSET", "VALID"):
            return self
        axes = zip(sizes, self.strides, self.extents, strict=True)
        totals = [max((-(-size // stride) - 1) * stride + extent - size, 0) for size, stride, extent in axes]
        less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
        return replace(self, pads=[*less, *more] if self.auto_pad == "SAME_UPPER" else [*more, *less])

    def counts(self, sizes: Sequence[int]) -> list[int]:
        """How many windows there are on each axis. One that would begin beyond the data does not count."""
        found = []
        for i, size in enumerate(sizes):
            begin, stride = self.pads[i], self.strides[i]
            room = size + begin + self.pads[self.rank + i] - self.extents[i]
            count = (-(-room // stride) if self.ceil else room // stride) + 1
            found.append(sum(n * stride < size + begin for n in range(count)) if self.ceil else count)
        return found

    def taps(self, at: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """The places of the data that a window touches, those outside included."""
        axes = zip(at, self.strides, self.pads[: self.rank], self.dilations, self.kernel, strict=True)
        return itertools.product(*([a * s - p + d * t for t in range(k)] for a, s, p, d, k in axes))


def _everywhere(place: Sequence[int]) -> Any:
    """The index of one place in all channels of all samples."""
    return (slice(None), slice(None), *place)


def _inside(tap: Sequence[int], sizes: Sequence[int]) -> bool:
    return all(0 <= t < size for t, size in zip(tap, sizes, strict=True))


def largest(data: Array, area: Area, column_major: bool = False) -> tuple[Array, Array]:
    """Maxima over each window of `data` [N, C, spatial...], and their places, counted by rows or by columns."""
    rank, sizes = area.rank, data.shape[2:]
    values = np.zeros((*data.shape[:2], *area.counts(sizes)), data.dtype)
    indices = np.zeros(values.shape, np.int64)
    steps = [int(np.prod(sizes[:i] if column_major else sizes[i + 1 :])) for i in range(rank)]
    for n, c, *at in np.ndindex(values.shape):
        inside = [tap for tap in area.taps(at) if _inside(tap, sizes)]
        best = max(inside, key=lambda tap: (data[(n, c, *tap)], [-t for t in tap]))
        values[(n, c, *at)] = data[(n, c, *best)]
        flat = sum(t * step for t, step in zip(best, steps, strict=True))
        indices[(n, c, *at)] = (n * data.shape[1] + c) * int(np.prod(sizes)) + flat
    return values, indices


def window_sums(data: Array, area: Area) -> tuple[Array, Array, Array]:
    """Sums over each window of `data` [N, C, spatial...], and how many elements it has without and with padding."""
    sizes = data.shape[2:]
    counts = area.counts(sizes)
    sums, inner, outer = np.zeros((*data.shape[:2], *counts)), np.zeros(counts), np.zeros(counts)
    limits = [size + pad for size, pad in zip(sizes, area.pads[area.rank :], strict=True)]
    for at in np.ndindex(*counts):
        taps = list(area.taps(at))
        inside = [tap for tap in taps if _inside(tap, sizes)]
        for tap in inside:
            sums[_everywhere(at)] += data[_everywhere(tap)]
        inner[at] = len(inside)
        outer[at] = sum(all(t < limit for t, limit in zip(tap, limits, strict=True)) for tap in taps)
    return sums, inner, outer


def scattered(data: Array, weight: Array, strides: Sequence[int], dilations: Sequence[int], group: int) -> Array:
    """A transposed convolution without padding: every element of the data adds its kernel to the result, float64."""
    kernel, sizes = weight.shape[2:], data.shape[2:]
    per_group, outputs = data.shape[1] // group, weight.shape[1]
    shape = [s * (n - 1) + d * (k - 1) + 1 for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)]
    result = np.zeros((data.shape[0], outputs * group, *shape), np.float64)
    wide, kernels = data.astype(np.float64), weight.astype(np.float64)
    for at in np.ndindex(*sizes):
        for tap in np.ndindex(*kernel):
            to = tuple(s * a + d * t for a, t, s, d in zip(at, tap, strides, dilations, strict=True))
            for g in range(group):
                block = slice(g * per_group, (g + 1) * per_group)
                product = wide[(slice(None), block, *at)] @ kernels[(block, slice(None), *tap)]
                result[(slice(None), slice(g * outputs, (g + 1) * outputs), *to)] += product
    return result


def cropped(whole: Array, begin: Sequence[int], end: Sequence[int]) -> Array:
    """`whole` without `begin` and `end` elements at the sides; negative numbers add zeros."""
    wide = np.pad(whole, [(0, 0), (0, 0), *((max(-b, 0), max(-e, 0)) for b, e in zip(begin, end, strict=True))])
    cuts = (slice(max(b, 0), n - max(e, 0)) for b, e, n in zip(begin, end, wide.shape[2:], strict=True))
    return np.asarray(wide[(slice(None), slice(None), *cuts)])
