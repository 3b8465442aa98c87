"""What `unspool inspect` shows: one document, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """One table for people."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


Inspection = tuple[dict[str, Any], list[Section]]
