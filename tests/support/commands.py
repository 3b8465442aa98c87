"""Commands in processes of their own, with the time and the memory that they took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.memory import MemoryWatch
from tests.support.models import PROJECT


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
    return Finished(seconds, usage.ru_utime + usage.ru_stime, watch.peak_bytes)


def unspool(*arguments: str | Path) -> Finished:
    """Run the command line in a process of its own."""
    return command("-m", "compiler.cli.main", *arguments)
