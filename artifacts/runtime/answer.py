"""What a session answers to one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Answer:
    """The outputs by name, and how often an engine was called, by the function that it holds.

    With partitions the calls of the step are the partitions that ran: as many as the longest row needed. Where engines
    choose tokens in two stages, `full_products` is at how many positions that took the scores of all tokens.
    """

    outputs: dict[str, npt.NDArray[Any]]
    calls: Mapping[str, int]
    full_products: int | None = None
