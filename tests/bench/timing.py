"""Measure calls side by side."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from statistics import median


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 3,
    clock: Callable[[], float] = time.perf_counter,
    least_seconds: float = 0,
) -> dict[str, float]:
    """The median seconds of each call, all of them once a round, so that what slows the machine slows all alike.

    Every other round goes backwards: none is always the one that finds its data in the cache. With
    `time.process_time` for a clock, waiting for a processor does not count: right for calls of one thread. Short calls
    get more rounds, until all have taken `least_seconds`.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    started = clock()
    for number in itertools.count(-warm_up):
        if number >= rounds and clock() - started >= least_seconds:
            break
        for name in calls if number % 2 else reversed(list(calls)):
            began = clock()
            calls[name]()
            if number >= 0:
                seconds[name].append(clock() - began)
    return {name: median(found) for name, found in seconds.items()}
