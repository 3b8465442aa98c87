"""How long decodes are: a histogram, from whatever file it was noted in."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.errors import UnspoolError, UsageError
from artifacts.samples import read_arrays

STAGE = "lengths"
LONGEST = 1 << 16
"""Tokens: a histogram has a place for each length up to the longest."""

_HINT = "lengths one to a line, or length,count; JSON of lengths, of {length: count} or of lists of token ids"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Lengths:
    """Probabilities of generated lengths, the end token counted: `probabilities[n]` float64 is that of n tokens."""

    probabilities: tuple[float, ...]

    @classmethod
    def of(cls, counts: Mapping[int, float]) -> Lengths:
        """From counts of lengths, all at least 1. Raises ValueError if there is nothing to count."""
        total = sum(counts.values())
        if not counts or min(counts) < 1 or min(counts.values()) < 0 or not 0 < total < float("inf"):
            raise ValueError("lengths are at least 1, and some of them are counted")
        if max(counts) > LONGEST:
            raise ValueError(f"a length of {max(counts)} is above {LONGEST}")
        return cls(tuple(counts.get(n, 0) / total for n in range(max(counts) + 1)))

    @property
    def longest(self) -> int:
        """The largest length."""
        return len(self.probabilities) - 1

    @property
    def mean(self) -> float:
        """The expected length."""
        return float(np.arange(self.longest + 1) @ np.array(self.probabilities))

    def quantile(self, part: float) -> int:
        """The smallest length that at least this part of all decodes does not exceed."""
        reached = np.cumsum(self.probabilities) >= part - 1e-12
        return int(reached.argmax()) if reached.any() else self.longest

    def exceeding(self, limit: int) -> Floats:
        """The probability to exceed n, float64 [limit + 1], by n from 0 on."""
        padded = np.zeros(limit + 1)
        kept = self.probabilities[: limit + 1]
        padded[: len(kept)] = kept
        return np.maximum(1 - np.cumsum(padded), 0)

    def limited(self, limit: int) -> Lengths:
        """The same decodes when none is longer than the limit."""
        if self.longest <= limit:
            return self
        return Lengths((*self.probabilities[:limit], sum(self.probabilities[limit:])))

    def of_batches(self, rows: int) -> Lengths:
        """The longest row of each batch, if rows come in no order."""
        within = np.minimum(np.cumsum(self.probabilities), 1) ** rows
        return Lengths(tuple(np.diff(within, prepend=0.0).tolist()))

    def strata(self, most: int) -> tuple[tuple[int, float], ...]:
        """At most so many lengths that stand for all, each with its part of them: the mean of neighbours, rounded."""
        groups: dict[int, list[tuple[int, float]]] = {}
        before = 0.0
        for length, part in enumerate(self.probabilities):
            if part > 0:
                groups.setdefault(min(int((before + part / 2) * most), most - 1), []).append((length, part))
            before += part
        found: dict[int, float] = {}
        for group in groups.values():
            part = sum(p for _, p in group)
            middle = max(1, round(sum(n * p for n, p in group) / part))
            found[middle] = found.get(middle, 0) + part
        return tuple(sorted(found.items()))


def read_lengths(path: Path) -> Lengths:
    """Read .csv, .json, .npz (`lengths`, as `unspool run -o` writes them) or .txt (token ids, a sequence a line).

    Raises UsageError naming the file.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError.of(STAGE, str(path), "is none of .csv, .json, .npz, .txt", _HINT)
    try:
        return Lengths.of(reader(path))
    except OSError as error:
        raise UsageError.of(STAGE, str(path), f"cannot be read: {error.strerror}") from error
    except (UnspoolError, ValueError, TypeError, KeyError, RecursionError, csv.Error) as error:
        raise UsageError.of(STAGE, str(path), f"holds no lengths: {error}", _HINT) from error


def _of_csv(path: Path) -> Mapping[int, float]:
    rows = [row for row in csv.reader(io.StringIO(path.read_text("utf-8"))) if any(cell.strip() for cell in row)]
    if rows and not rows[0][0].strip().isdigit():
        rows = rows[1:]
    counts: Counter[int] = Counter()
    for length, *count in rows:
        counts[int(length)] += int(count[0]) if count else 1
    return counts


def _of_json(path: Path) -> Mapping[int, float]:
    document = json.loads(path.read_text("utf-8"))
    if isinstance(document, dict):
        return {int(length): float(count) for length, count in document.items()}
    return Counter(len(item) if isinstance(item, list) else _integer(item) for item in document)


def _integer(item: Any) -> int:
    if not isinstance(item, int) or isinstance(item, bool):
        raise TypeError(f"{item!r} is no length")
    return item


def _of_arrays(path: Path) -> Mapping[int, float]:
    return _counted(read_arrays(path)["lengths"].ravel().tolist())


def _of_tokens(path: Path) -> Mapping[int, float]:
    lines = (line.split() for line in path.read_text("utf-8").splitlines())
    return _counted(len([int(token) for token in line]) for line in lines if line)


def _counted(lengths: Iterable[int]) -> Mapping[int, float]:
    return Counter(map(_integer, lengths))


_READERS: Mapping[str, Callable[[Path], Mapping[int, float]]] = MappingProxyType(
    {".csv": _of_csv, ".json": _of_json, ".npz": _of_arrays, ".txt": _of_tokens}
)
