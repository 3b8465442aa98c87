"""Calls of one session, several at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from artifacts.errors import RunError

Given = TypeVar("Given")
Made = TypeVar("Made")


class Workers:
    """So many threads, which share the session's engines and so their weights. One worker is the caller's own thread.

    Threads and not processes: an engine runs without Python's lock, so that only what the host does between two calls
    of engines has to take turns.
    """

    def __init__(self, count: int) -> None:
        self._threads = None if count == 1 else ThreadPoolExecutor(count, "unspool")

    def map(self, call: Callable[[Given], Made], given: Iterable[Given]) -> list[Made]:
        """What each call gives, in order. The first that fails is the caller's, and those not yet begun are not."""
        threads = self._threads
        return list(map(call, given) if threads is None else threads.map(call, given))

    def close(self) -> None:
        """Wait for the calls that run, and end the threads. What is given later runs in the caller's thread."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(cancel_futures=True)


THREADS = "UNSPOOL_THREADS"
"""The environment variable that says how many threads engines of this process may have, as a launch script does."""


def equal_share(workers: int) -> int | None:
    """Threads for the engines of each of several workers; None for one, which may have as many as the runtime likes.

    Raises RunError if the environment says otherwise, and not with a number.
    """
    said = os.environ.get(THREADS)
    if said is not None and not re.fullmatch(r"[1-9][0-9]{0,4}", said):
        raise RunError.of("session", THREADS, f"is {said!r} in the environment", "give a number of threads")
    if workers <= 1:
        return None if said is None else int(said)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, (usable if said is None else int(said)) // workers)
