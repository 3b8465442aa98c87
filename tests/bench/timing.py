"""Measure calls side by side, and commands with the memory that they took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.memory import MemoryWatch
from tests.support.models import PROJECT


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """The median seconds of each call, all of them once a round, so that what slows the machine slows all alike.

    Every other round goes backwards: none is always the one that finds its data in the cache. With
    `time.process_time` for a clock, waiting for a processor does not count: right for calls of one thread.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-warm_up, rounds):
        for name in calls if number % 2 else reversed(list(calls)):
            began = clock()
            calls[name]()
            if number >= 0:
                seconds[name].append(clock() - began)
    return {name: median(found) for name, found in seconds.items()}


@dataclass(frozen=True)
class Finished:
    """A command that ended well: its wall time, start of the interpreter included, and the memory at its peak.

    `processor_seconds` are those of all its threads and children, which waiting for a processor does not count into.
    Of the memory of its own children the part counts that they had at one time with it.
    """

    seconds: float
    processor_seconds: float
    peak_bytes: int


def command(*arguments: str | Path) -> Finished:
    """Run `python ARGUMENTS` in the project's folder. Raises RuntimeError, with what it printed, if it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with MemoryWatch(process.pid) as watch:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, arguments))}\n{printed.decode(errors='replace')}")
    largest = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # KiB on Linux, bytes on macOS
    return Finished(seconds, usage.ru_utime + usage.ru_stime, max(largest, watch.peak_bytes))


def unspool(*arguments: str | Path) -> Finished:
    """Run the command line in a process of its own."""
    return command("-m", "compiler.cli.main", *arguments)
