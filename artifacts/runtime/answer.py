"""What a session answers to one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True)
class Drafted:
    """How many tokens were guessed, and how many of the guesses were right."""

    tokens: int = 0
    accepted: int = 0

    def __add__(self, other: Drafted) -> Drafted:
        return Drafted(self.tokens + other.tokens, self.accepted + other.accepted)


@dataclass(frozen=True, eq=False)
class Answer:
    """The outputs by name, and how often an engine was called, by the function that it holds.

    With partitions the calls of the step are the partitions that ran: as many as the longest row needed. Where engines
    choose tokens in two stages, `full_products` is at how many positions that took the scores of all tokens; a window
    over guesses counts as one. `drafted` is what became of guesses, where an engine makes any.
    """

    outputs: dict[str, npt.NDArray[Any]]
    calls: Mapping[str, int]
    full_products: int | None = None
    drafted: Drafted | None = None
