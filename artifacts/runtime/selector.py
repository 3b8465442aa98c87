"""What chooses tokens while a decode runs: one row a request, or a beam of them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from artifacts.runtime.beam import BeamSearch
from artifacts.runtime.greedy import Greedy
from artifacts.schedule import Generation

Array = npt.NDArray[Any]
Tokens = npt.NDArray[np.int64]


class Selector(Protocol):
    """The rows of one decode. A loop feeds a step `fed`, and hands the scores that it gives to `append`."""

    @property
    def width(self) -> int:
        """Rows per request, side by side; what is the same in every step has to be repeated as often."""

    @property
    def position(self) -> int:
        """Number of tokens generated so far."""

    @property
    def finished(self) -> bool:
        """True if no step is needed any more."""

    @property
    def fed(self) -> Tokens:
        """Start token and tokens so far of every row that is left, int64 [rows, position + 1]."""

    @property
    def order(self) -> Tokens | None:
        """Which row of the step before each row that is left continues, int64 [rows]; None: its own, and all are."""

    def append(self, scores: Array) -> None:
        """Choose by `scores`, float [rows, vocabulary]. Raises RunError if they are not usable."""

    def result(self) -> dict[str, Array]:
        """`tokens` int64 [batch, n], end tokens kept, rows filled with pad; `lengths` int64 [batch]; and more."""


def selector_for(generation: Generation, batch: int, *, drops: bool = False) -> Selector:
    """What chooses tokens under these settings; `drops` says whether the steps can do with fewer rows on the way."""
    if generation.beams is None:
        return Greedy(generation, batch, drops=drops)
    return BeamSearch(generation, generation.beams, batch)
