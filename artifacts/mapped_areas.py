"""Mapped files in this process, whose pages can be given back: they are mapped again when they are looked at."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.01
"""Seconds between two times that the pages are given back: a run of a model reads some 20 MB in it."""

_SMAPS = Path("/proc/self/smaps")
_AREA = re.compile(r"(?m)^([0-9a-f]+)-([0-9a-f]+) r(\S)\S+ [0-9a-f]+ \S+ \d+ +(/.*)$")
_WRITTEN = re.compile(r"(?m)^Anonymous: +(\d+) kB")


@dataclass(frozen=True)
class Area:
    """Memory from one address to another in which a file is mapped, and no page of it was written to."""

    begin: int
    end: int
    is_writable: bool


def unwritten_areas(folder: Path) -> tuple[Area, ...]:
    """Where files below a folder are mapped in this process. Needs Linux's /proc: elsewhere none is found."""
    if not _SMAPS.exists():
        return ()
    text = _SMAPS.read_text(errors="replace")
    return tuple(
        Area(int(head[1], 16), int(head[2], 16), head[3] == "w")
        for head in _AREA.finditer(text)
        if Path(head[4]).is_relative_to(folder)
        and (written := _WRITTEN.search(text, head.end())) is not None
        and written[1] == "0"
    )


def give_back_pages_of(areas: Sequence[Area]) -> None:
    """Give the pages of areas back. What was written to one since it was found would be lost."""
    if not areas:
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for area in areas:
        advise(area.begin, area.end - area.begin, mmap.MADV_DONTNEED)


@contextlib.contextmanager
def pages_given_back(areas: Sequence[Area]) -> Iterator[None]:
    """While the block runs, pages of mapped files stay in memory for a moment after they were looked at.

    Whoever reads a large file from one end to the other then never has much of it. Nothing may write to the areas,
    or unmap them, in the block.
    """
    if not areas:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_keep_giving_back, args=(areas, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _keep_giving_back(areas: Sequence[Area], over: threading.Event) -> None:
    while not over.wait(INTERVAL):
        give_back_pages_of(areas)
