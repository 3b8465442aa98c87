"""Chooses tokens: the highest score of each row, under the rules of a `Generation`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.errors import RunError
from artifacts.runtime.live_rows import rows_to_keep
from artifacts.schedule import Generation

Array = npt.NDArray[Any]
Tokens = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Greedy:
    """The rows of one decode and how far each has come.

    A row ends with its first end token; after that it is filled with pad. The start token is in `fed`,
    which is what a step is given, and not in what was generated. A batch that `drops` loses rows that have ended.
    """

    def __init__(self, generation: Generation, batch: int, *, drops: bool = False) -> None:
        self._generation = generation
        self._drops = drops
        self._tokens: Tokens = np.full((batch, 1 + generation.max_new_tokens), generation.pad, np.int64)
        self._tokens[:, 0] = generation.start
        self._lengths: Tokens = np.zeros(batch, np.int64)
        self._ends: Tokens = np.array(generation.eos, np.int64)
        self._position = 0
        # Of the rows that a step is given: which they are of all, and whether they go on.
        self._rows: Tokens = np.arange(batch)
        self._active: Flags = np.ones(batch, np.bool_)
        self._order: Tokens | None = None

    @property
    def width(self) -> int:
        """Rows per request: one."""
        return 1

    @property
    def order(self) -> Tokens | None:
        """For each row, which row of the step before it continues; None: its own, and none was dropped."""
        return self._order

    @property
    def position(self) -> int:
        """Number of tokens generated so far."""
        return self._position

    @property
    def finished(self) -> bool:
        """True if every row has ended or may not grow."""
        return not self._active.any() or self._position == self._generation.max_new_tokens

    @property
    def fed(self) -> Tokens:
        """Start token and tokens so far of the rows that are left, int64 [rows, position + 1]."""
        return self._tokens[self._rows, : self._position + 1]

    def append(self, scores: Array) -> None:
        """Choose one token per row from `scores`, float [rows, vocabulary].

        Raises RunError if a row that has not ended has a score that is NaN, or none above minus infinity.
        """
        rules = self._generation
        suppressed = rules.suppressed_of(scores.shape[1])
        if suppressed:
            scores = scores.copy()
            scores[:, suppressed] = -np.inf
        chosen = scores.argmax(axis=1)
        # argmax takes a NaN for the highest score, so the chosen one tells.
        best = np.take_along_axis(scores, chosen[:, None], 1)[:, 0]
        broken = self._rows[self._active & ~(best > -np.inf)]
        if broken.size:
            message = f"the logits are NaN, or all minus infinity, at position {self._position}"
            raise RunError.of("decode", f"row {broken[0]} of the batch", message, "check the inputs for NaN")
        forced = rules.forced(self._position)
        if forced is not None:
            chosen = np.full_like(chosen, forced)
        self._position += 1
        self._tokens[self._rows, self._position] = np.where(self._active, chosen, rules.pad)
        self._lengths[self._rows] += self._active
        self._active &= (chosen[:, None] != self._ends).all(axis=1)
        self._order = rows_to_keep(self._active) if self._drops else None
        if self._order is not None:
            self._rows, self._active = self._rows[self._order], self._active[self._order]

    def result(self) -> dict[str, Array]:
        """`tokens` int64 [batch, n], end tokens kept, rows filled with pad; `lengths` int64 [batch]."""
        return {"tokens": self._tokens[:, 1 : self._position + 1].copy(), "lengths": self._lengths.copy()}
