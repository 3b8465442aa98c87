"""Measure calls side by side."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import TypeVar

Key = TypeVar("Key")


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

    def timed(call: Callable[[], object]) -> float:
        began = clock()
        call()
        return clock() - began

    return turns({name: partial(timed, call) for name, call in calls.items()}, rounds, warm_up, least_seconds)


def turns(
    calls: Mapping[Key, Callable[[], float]], rounds: int, warm_up: int = 3, least_seconds: float = 0
) -> dict[Key, float]:
    """The median of what each call says that it took, in seconds. They take turns as `interleaved` has it."""
    seconds: dict[Key, list[float]] = {name: [] for name in calls}
    spent = 0.0
    for number in itertools.count(-warm_up):
        if number >= rounds and spent >= least_seconds:
            break
        for name in calls if number % 2 else reversed(list(calls)):
            taken = calls[name]()
            spent += taken
            if number >= 0:
                seconds[name].append(taken)
    return {name: median(found) for name, found in seconds.items()}
