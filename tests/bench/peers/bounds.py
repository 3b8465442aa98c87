"""What the project holds its decoding to, next to what others take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.bench.figures import Figure
from tests.bench.peers.contest import Contest, slower_cells
from tests.bench.peers.contestants import (
    BOUND_LOOP,
    CTRANSLATE2,
    CTRANSLATE2_INT8,
    FLOOR,
    NUMPY_LOOP,
    OURS,
    OURS_INT8,
    Contestant,
)

TOKENS = 48

LEAST_ROOFLINE = 0.9
"""The share of a token's time that reading every weight of it in float32 takes, for weights that come from memory."""


@dataclass(frozen=True)
class Faster:
    """At `rows` rows and 48 tokens, `ours` has to be `times` times as fast as `theirs`."""

    ours: Contestant
    theirs: Contestant
    model: str
    rows: int
    times: float


def _faster(ours: Contestant, peers: Sequence[Contestant], large: tuple[float, float], small: float) -> list[Faster]:
    sizes = [(name, rows, times) for name in ("marian", "t5") for rows, times in zip((1, 8), large, strict=True)]
    return [Faster(ours, peer, *size) for peer in peers for size in (*sizes, ("small", 1, small))]


BOUNDS = (
    *_faster(OURS, (NUMPY_LOOP, BOUND_LOOP), (1.5, 1.3), 1.7),
    *_faster(OURS, (CTRANSLATE2,), (1.9, 1.8), 1.4),
    *_faster(OURS_INT8, (CTRANSLATE2_INT8,), (2.2, 1.05), 1.0),
)


def figures(contest: Contest) -> Iterator[Figure]:
    """The bounds on one model, for the contestants that took part."""
    took_part, what = contest.contestants, contest.sizes.what
    for bound in BOUNDS:
        if bound.model == contest.model and bound.ours in took_part:
            seconds = contest.cell(TOKENS, bound.rows).seconds
            ours, theirs = seconds[bound.ours.name], seconds[bound.theirs.name]
            yield Figure(
                f"{what}, batch {bound.rows}, {TOKENS} tokens: {bound.ours.title} over {bound.theirs.title}",
                ours / theirs,
                "x",
                1 / bound.times,
                f"{1e3 * ours:.1f} ms against {1e3 * theirs:.1f} ms: {theirs / ours:.2f} times as fast, "
                f"at least {bound.times:g}",
            )
    token, reading = contest.token_seconds(OURS), contest.token_seconds(FLOOR)
    yield Figure(
        f"{what}, batch 1: a token of {OURS.title} over reading every weight in float32",
        token / reading,
        "x",
        1 / LEAST_ROOFLINE if contest.sizes.is_in_memory else None,
        f"{1e3 * token:.2f} ms, {reading / token:.0%} of the roofline",
    )
    share = contest.roofline(OURS)
    detail = f"{share:.0%} of a roofline of its own"
    yield Figure(f"{what}, batch 1: a token of {OURS.title} over reading what it reads", 1 / share, "x", None, detail)
    exact = [found for found in slower_cells(contest) if found.peer.is_exact]
    detail = f"of {len(contest.cells) * sum(peer.is_exact and not peer.is_ours for peer in took_part)}"
    yield Figure(f"{what}: cells in which a peer without loss is faster", len(exact), "cells", 0, detail)
