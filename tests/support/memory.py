"""The memory of a process and of the processes that it starts, while they run."""

from __future__ import annotations

import re
import resource
import threading
from pathlib import Path
from types import TracebackType

INTERVAL = 0.02
"""Seconds between two looks."""

_HIGH_WATER = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_SHARE = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


class MemoryWatch:
    """A context manager that keeps the largest sum it saw over a process and its descendants.

    A page that several of them map counts in parts (the proportional set size). Of the process alone the kernel keeps
    the largest, which counts too. Needs Linux's /proc: elsewhere `peak_bytes` stays 0.

    Linux adds up a proportional set while the process runs on, and can count what moves meanwhile twice: 680 MB were
    seen of a process that never had more than 560. So it counts up to the resident set, which is one counter.
    """

    def __init__(self, process: int) -> None:
        self.peak_bytes = 0
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL):
            family = sum(map(proportional, _family(self._process)))
            self.peak_bytes = max(self.peak_bytes, family, high_water(self._process))


def _family(process: int) -> list[int]:
    """A process and its descendants."""
    found = [process]
    for member in found:
        try:
            lists = [path.read_text() for path in Path(f"/proc/{member}/task").glob("*/children")]
        except OSError:  # it has ended
            continue
        found += [int(child) for text in lists for child in text.split()]
    return found


def proportional(process: int) -> int:
    """Proportional set size of a process, in bytes; 0 if it has ended."""
    try:
        before = _resident(process)
        found = _SHARE.search(Path(f"/proc/{process}/smaps_rollup").read_text())
        most = max(before, _resident(process))
    except OSError:
        return 0
    return min(int(found[1]) * 1024, most) if found else 0


def high_water(process: int) -> int:
    """The most bytes that a process had by itself, 0 if it has ended.

    Not what `wait4` tells: that begins with the memory of the process that started it.
    """
    try:
        found = _HIGH_WATER.search(Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def _resident(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
