"""Whether processes are there, by their ids."""

from __future__ import annotations

import os
import time
from pathlib import Path


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


def await_file(path: Path, seconds: float = 30.0) -> str:
    """The text of a file, as soon as it has one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.02)
    raise TimeoutError(path)
