"""What it costs to serve a model in each of the ways in which its engines can take their weights."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from artifacts.bundle import Bundle
from artifacts.freed_memory import give_back
from artifacts.manifest import Access
from artifacts.report import WeightCost
from artifacts.runtime import Session
from artifacts.samples import Arrays

SECONDS, FEWEST = 2.0, 5
"""How long ways are compared, and the rounds that there are at least."""


def weight_costs(
    bundle: Bundle, model: str, ways: Sequence[Access], requests: Iterable[Arrays], threads: int | None = None
) -> tuple[WeightCost, ...]:
    """Open a model in each way and let all of them answer the requests in turn, so that all see the same machine.

    What is opened last is what needs most memory of its own: give `mapped` first. Raises as `Session.of` and `run`.
    """
    with ExitStack() as stack:
        sessions, opened = [], []
        for way in ways:
            before = own_bytes()
            sessions.append(stack.enter_context(Session.of(bundle, model, weights=way, threads=threads)))
            give_back()
            opened.append(None if before is None else max(0, (own_bytes() or 0) - before))
        taken = {spec.name for spec in sessions[0].signature.inputs}
        given = [{name: array for name, array in request.items() if name in taken} for request in requests]
        seconds = _seconds(sessions, given)
    return tuple(
        WeightCost(model=model, way=way, milliseconds=1000 * spent, own_bytes=own)
        for way, spent, own in zip(ways, seconds, opened, strict=True)
    )


def own_bytes() -> int | None:
    """Bytes of this process that are in no file, so that no other process shares them; None where nothing tells.

    Linux only: `Anonymous` of smaps_rollup, without what has been swapped out.
    """
    try:
        found = re.search(r"^Anonymous:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _seconds(sessions: Sequence[Session], requests: Sequence[Arrays]) -> list[float]:
    """The median seconds in which each session answers all requests."""
    found: list[list[float]] = [[] for _ in sessions]
    for session in sessions:
        _answer(session, requests)
    until = time.perf_counter() + SECONDS
    while len(found[0]) < FEWEST or time.perf_counter() < until:
        for session, times in zip(sessions, found, strict=True):
            began = time.perf_counter()
            _answer(session, requests)
            times.append(time.perf_counter() - began)
    return [median(times) for times in found]


def _answer(session: Session, requests: Sequence[Arrays]) -> None:
    for request in requests:
        session.run(request)
