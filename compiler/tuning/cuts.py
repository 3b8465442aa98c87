"""Where to cut a line of places so that what its parts cost together is least: one dynamic program for every cut."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def cheapest_cuts(spent: Floats, begin: int, most: int) -> tuple[int, ...]:
    """The ends of the parts, at most `most` of them, that a line from `begin` to its last place is best cut into.

    `spent` float64 [n, n] is what the part from a to b costs, at [a, b] for a < b; the rest of it is not looked at. Of
    cuts that cost the same the one of fewer parts is taken. The line is not empty: `begin` < n - 1, and `most` >= 1.
    """
    last = len(spent) - 1
    # A part must not be empty.
    parts = np.where(np.tri(last + 1, dtype=np.bool_), np.inf, spent)
    least = np.full(last + 1, np.inf)
    least[begin] = 0
    best, came = np.inf, list[npt.NDArray[np.intp]]()
    found: tuple[int, ...] = (last,)
    for _ in range(min(most, last - begin)):
        through = least[:, None] + parts
        came.append(through.argmin(0))
        least = through.min(0)
        if least[last] < best - 1e-12 * abs(best if np.isfinite(best) else 0):
            best, found = float(least[last]), _path(came, last)
    return found


def _path(came: list[npt.NDArray[np.intp]], last: int) -> tuple[int, ...]:
    ends = [last]
    for origins in reversed(came[1:]):
        ends.append(int(origins[ends[-1]]))
    return tuple(reversed(ends))
