"""Where jobs run: pools by name, and how much memory a worker may have."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil

from artifacts.errors import UsageError
from compiler.zoo.local import LocalPool
from compiler.zoo.spec import parse_bytes

if TYPE_CHECKING:
    from compiler.zoo.work import Pool

_SHARE = 0.8
"""Of a machine's memory that is for workers; the rest is the system's, and for pages of files."""


def worker_memory(text: str | None, workers: int) -> int:
    """Bytes that one worker may hold: what `text` says, or this machine's memory by workers. Raises UsageError."""
    if text is None:
        return int(psutil.virtual_memory().total * _SHARE / workers)
    found = parse_bytes(int(text) if text.isdigit() else text)
    if not isinstance(found, int) or found <= 0:
        raise UsageError.of("options", f"--memory {text}", "is no number of bytes", "write 4GiB, or 500MB")
    return found


def find_pool(engine: str, workers: int | None, memory: str | None, address: str | None) -> Pool:
    """The pool of that name; of this machine with as many workers as processors if no number is given.

    Raises MissingToolError for one whose package is not installed, UsageError for a cluster that is not there.
    """
    if engine == "ray":
        from compiler.zoo.cluster import RayPool

        return RayPool.connected(address, workers, None if memory is None else worker_memory(memory, 1))
    count = workers or os.cpu_count() or 1
    return LocalPool(count, worker_memory(memory, count))
