"""What was measured of one model, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from tests.bench.peers.contestants import CONTESTANTS, FLOOR, OURS, OURS_INT8, Contestant
from tests.bench.peers.models import LENGTHS, PeerModel, model_named


@dataclass(frozen=True)
class Cell:
    """The median seconds that each contestant, by name, takes to write `tokens` tokens for each of `rows` texts."""

    tokens: int
    rows: int
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Contest:
    """All cells of a model, and what else was seen of the contestants.

    `agreeing` is the share of tokens, in the largest cell, that are those of the exact contestants; `peak_bytes` the
    most memory that a process had when it had decoded that cell only; `versions` those of the peers' packages.
    """

    model: str
    cells: tuple[Cell, ...]
    agreeing: Mapping[str, float]
    peak_bytes: Mapping[str, int]
    versions: Mapping[str, str]
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """From what `dataclasses.asdict` gives, through JSON or not."""
        cells = tuple(Cell(**cell) for cell in fields["cells"])
        return cls(**{**fields, "cells": cells, "remarks": tuple(fields["remarks"])})

    @property
    def sizes(self) -> PeerModel:
        """The model itself."""
        return model_named(self.model)

    @property
    def contestants(self) -> tuple[Contestant, ...]:
        """Those that took part."""
        return tuple(found for found in CONTESTANTS if found.name in self.cells[0].seconds)

    def cell(self, tokens: int, rows: int) -> Cell:
        """The cell of that size."""
        return next(cell for cell in self.cells if (cell.tokens, cell.rows) == (tokens, rows))

    def token_seconds(self, contestant: Contestant) -> float:
        """What one more token takes at batch 1: the slope from the shortest to the longest text, encoder left out."""
        shortest, longest = (self.cell(tokens, 1).seconds[contestant.name] for tokens in (LENGTHS[0], LENGTHS[-1]))
        return (longest - shortest) / (LENGTHS[-1] - LENGTHS[0])

    def roofline(self, contestant: Contestant) -> float:
        """The share of a token's time at batch 1 that reading the weights once takes, in the form that it reads."""
        share = self.sizes.step_bytes(contestant.reads) / self.sizes.step_bytes("float32")
        return share * self.token_seconds(FLOOR) / self.token_seconds(contestant)

    @property
    def bytes_per_second(self) -> float:
        """How fast one thread reads a buffer as large as the weights of a step."""
        return self.sizes.step_bytes("float32") / self.token_seconds(FLOOR)


@dataclass(frozen=True)
class Slower:
    """A cell in which `ours` takes `ratio` times as long as a peer."""

    contest: Contest
    cell: Cell
    ours: Contestant
    peer: Contestant

    @property
    def ratio(self) -> float:
        """More than 1."""
        return self.cell.seconds[self.ours.name] / self.cell.seconds[self.peer.name]


def slower_cells(contest: Contest) -> Iterator[Slower]:
    """Where a peer is faster. One that computes in less than float32 is compared with our int8, if that took part."""
    for cell in contest.cells:
        for peer in contest.contestants:
            ours = OURS if peer.is_exact or OURS_INT8.name not in cell.seconds else OURS_INT8
            if not peer.is_ours and cell.seconds[peer.name] < cell.seconds[ours.name]:
                yield Slower(contest, cell, ours, peer)
