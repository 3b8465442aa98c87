"""Cores of a host by number: as they are written for a runtime or for taskset, and shares of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST_CORES = 4096
"""Numbers of cores end below this. No host has as many."""

Cores = tuple[int, ...]

_PART = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")


def parse_cores(text: str) -> Cores:
    """The cores of `0-3`, `0,2` or `0-3,8`, ascending. Raises ValueError for another text, or a core named twice."""
    found: list[int] = []
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{text!r} names no cores: write 0-3, or 0,2")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last >= MOST_CORES:
            raise ValueError(f"{part!r} is no range of cores: they go up, and end below {MOST_CORES}")
        found += range(first, last + 1)
    if len(set(found)) < len(found):
        raise ValueError(f"{text!r} names a core twice")
    return tuple(sorted(found))


def cores_text(cores: Cores) -> str:
    """One number, a range if there are no gaps, or else every number."""
    if len(cores) > 1 and cores[-1] - cores[0] == len(cores) - 1:
        return f"{cores[0]}-{cores[-1]}"
    return ",".join(map(str, cores))


def shares(cores: Sequence[int], count: int) -> list[Cores]:
    """So many shares of the cores, in order, that differ by one core at most."""
    return [tuple(cores[len(cores) * n // count : len(cores) * (n + 1) // count]) for n in range(count)]
