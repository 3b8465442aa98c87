"""What is said to a contestant's process and by it: one JSON document a line, and every order has one answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Order:
    """Write `tokens` tokens for each of the first `rows` texts."""

    tokens: int
    rows: int

    def line(self) -> str:
        """The order as it is sent, without the end of the line."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, line: str) -> Self:
        """What `line` wrote."""
        return cls(**json.loads(line))


@dataclass(frozen=True)
class Greeting:
    """The first thing that a process says, once it can take orders: the versions of what it measures."""

    versions: Mapping[str, str]

    def line(self) -> str:
        """The greeting as it is sent, without the end of the line."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, line: str) -> Self:
        """What `line` wrote."""
        return cls(**json.loads(line))


@dataclass(frozen=True)
class Answer:
    """Seconds of the processor that the decode took, and its tokens."""

    seconds: float
    tokens: tuple[tuple[int, ...], ...]

    def line(self) -> str:
        """The answer as it is sent, without the end of the line."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, line: str) -> Self:
        """What `line` wrote."""
        found = json.loads(line)
        return cls(found["seconds"], tuple(map(tuple, found["tokens"])))
