"""Processes by their ids, whether they are there, and interrupts of this one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process is gone, or nothing but an entry that nobody has asked for, within some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not running(pid):
            return True
        time.sleep(0.02)
    return False


def running(pid: int) -> bool:
    """Whether a process runs or waits."""
    try:
        os.kill(pid, 0)
        facts = Path(f"/proc/{pid}/stat")
        return not Path("/proc/self").exists() or facts.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@contextmanager
def interrupted_at(path: Path) -> Iterator[None]:
    """Interrupts this process as soon as the file is there; within the block KeyboardInterrupt is to come of it."""

    def interrupt() -> None:
        await_file(path)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    thread.join()


def await_file(path: Path, seconds: float = 30.0) -> str:
    """The text of a file, as soon as it has one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.02)
    raise TimeoutError(path)
