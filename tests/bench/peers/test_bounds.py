from __future__ import annotations

from dataclasses import replace

from tests.bench.peers.bounds import BOUNDS, figures
from tests.bench.peers.contest import Contest
from tests.bench.peers.contestants import BOUND_LOOP, CTRANSLATE2, NUMPY_LOOP, OURS
from tests.bench.peers.test_contest import INT8, contest

LOOPS = {BOUND_LOOP.name: (20.0, 52.0, 79.0)}


def test_every_bound_is_on_a_contest() -> None:
    found = {name: len(list(figures(contest(name, LOOPS | INT8)))) for name in ("small", "marian", "t5")}
    # Two rooflines and the slower cells belong to each.
    assert found == {"small": 4 + 3, "marian": 8 + 3, "t5": 8 + 3}
    assert len(BOUNDS) == 4 + 8 + 8
    assert len(list(figures(contest("t5", LOOPS)))) == 6 + 3


def test_a_bound_is_on_a_ratio_of_times() -> None:
    loop, bound, peer, *_ = figures(contest("small", LOOPS))
    assert (loop.value, loop.bound, loop.verdict) == (52 / 104, 1 / 1.7, "met")
    assert (bound.value, bound.verdict) == (1, "missed")
    assert (round(peer.value, 6), peer.bound, peer.verdict) == (52 / 32, 1 / 1.4, "missed")
    assert loop.detail == "52.0 ms against 104.0 ms: 2.00 times as fast, at least 1.7"


def test_the_roofline_binds_what_comes_from_memory() -> None:
    *_, small, own, _ = figures(contest("small", LOOPS))
    *_, large, of_large, _ = figures(contest("marian", LOOPS))
    assert (small.verdict, large.verdict) == ("", "missed")
    assert (own.verdict, of_large.verdict) == ("", "")
    assert small.value < own.value  # what is read in fewer bits is read sooner


def test_cells_are_counted_in_which_a_peer_without_loss_is_faster() -> None:
    *_, cells = figures(contest("t5", LOOPS))
    assert (cells.value, cells.detail, cells.verdict) == (6, "of 18", "missed")
    *_, cells = figures(_without(contest("t5", LOOPS), CTRANSLATE2.name))
    # As fast is not faster.
    assert (cells.value, cells.detail, cells.verdict) == (0, "of 18", "met")
    assert {OURS, NUMPY_LOOP, BOUND_LOOP} <= set(contest("t5", LOOPS).contestants)


def _without(found: Contest, name: str) -> Contest:
    """A contest in which that one is twice as slow."""
    return replace(
        found,
        cells=tuple(replace(cell, seconds={**cell.seconds, name: 2 * cell.seconds[OURS.name]}) for cell in found.cells),
    )
