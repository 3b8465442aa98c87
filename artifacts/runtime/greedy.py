"""Chooses tokens: the highest score of each row, under the rules of a `Generation`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.errors import RunError
from artifacts.schedule import Generation

Array = npt.NDArray[Any]
Tokens = npt.NDArray[np.int64]


class Greedy:
    """The rows of one decode and how far each has come.

    A row ends with its first end token; after that it is filled with pad. The start token is in `fed`,
    which is what a step is given, and not in what was generated.
    """

    def __init__(self, generation: Generation, batch: int) -> None:
        self._generation = generation
        self._tokens: Tokens = np.full((batch, 1 + generation.max_new_tokens), generation.pad, np.int64)
        self._tokens[:, 0] = generation.start
        self._lengths: Tokens = np.zeros(batch, np.int64)
        self._rows: Tokens = np.arange(batch)
        self._ends: Tokens = np.array(generation.eos, np.int64)
        self._active: npt.NDArray[np.bool_] = np.ones(batch, np.bool_)
        self._position = 0

    @property
    def width(self) -> int:
        """Rows per request: one."""
        return 1

    @property
    def order(self) -> None:
        """Every row continues itself."""
        return None

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
        """Start token and tokens so far, int64 [batch, position + 1]."""
        return self._tokens[:, : self._position + 1]

    def append(self, scores: Array) -> None:
        """Choose one token per row from `scores`, float [batch, vocabulary].

        Raises RunError if a row that has not ended has a score that is NaN, or none above minus infinity.
        """
        rules = self._generation
        suppressed = [token for token in rules.suppressed if token < scores.shape[1]]
        if suppressed:
            scores = scores.copy()
            scores[:, suppressed] = -np.inf
        chosen = scores.argmax(axis=1)
        # argmax takes a NaN for the highest score, so the chosen one tells.
        best = scores[self._rows, chosen]
        broken = np.flatnonzero(self._active & ~(best > -np.inf))
        if broken.size:
            message = f"the logits are NaN, or all minus infinity, at position {self._position}"
            raise RunError.of("decode", f"row {broken[0]} of the batch", message, "check the inputs for NaN")
        if self._position == 0 and rules.forced_first is not None:
            chosen = np.full_like(chosen, rules.forced_first)
        if self._position == rules.max_new_tokens - 1 and rules.forced_last is not None:
            chosen = np.full_like(chosen, rules.forced_last)
        self._position += 1
        self._tokens[:, self._position] = np.where(self._active, chosen, rules.pad)
        self._lengths += self._active
        self._active &= (chosen[:, None] != self._ends).all(axis=1)

    def result(self) -> dict[str, Array]:
        """`tokens` int64 [batch, n], end tokens kept, rows filled with pad; `lengths` int64 [batch]."""
        return {"tokens": self._tokens[:, 1 : self._position + 1].copy(), "lengths": self._lengths.copy()}
