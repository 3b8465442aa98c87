"""A vendor's tool in a process group of its own: bounded in time and in what is kept of its words, and gone afterwards.

What is killed is the group: the tool, and all that it started and that stayed in its group.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compiler.child_process import command_of, environment

KEPT_BYTES = 1 << 15
"""What is kept of a tool's words: as many bytes of their beginning, where errors begin, as of their end."""

_LOOK_SECONDS = 0.1
"""How often to look whether a tool has ended that says nothing."""

_GONE_SECONDS = 2.0
"""How long to wait until all that was killed is gone: a process that ends may still hold files for a moment."""


def never() -> bool:
    """What is not to be stopped."""
    return False


@dataclass(frozen=True)
class Ended:
    """How a tool ended: with an exit status, with minus the number of a signal, or with None for want of time.

    `said` is what it wrote to stdout and stderr, of which the middle is left out if there is much.
    """

    status: int | None
    said: str


def run_tool(
    command: Sequence[str],
    *,
    folder: Path,
    seconds: float,
    variables: Mapping[str, str] | None = None,
    heard: Callable[[str], None] | None = None,
    stopped: Callable[[], bool] = never,
) -> Ended:
    """Run a command in `folder` until it ends, or for `seconds`; `command` begins with the path of a program.

    `variables` are added to the environment. `heard` is called with the last line of what it says, now and then. Where
    `stopped` says so, KeyboardInterrupt is raised: a thread hears of no interrupt itself.
    When this returns or raises, on an interrupt say, nothing of the command runs any more. Raises OSError.
    """
    seen = {**os.environ, **(variables or {})}
    deadline = time.monotonic() + seconds
    words = _Words()
    with subprocess.Popen(
        command_of("compiler.neuron.keeper", str(os.getpid()), seen.get("PYTHONPATH", ""), *command),
        cwd=folder,
        env={**seen, "PYTHONPATH": environment()["PYTHONPATH"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            status = _listen(process, deadline, words, heard, stopped)
        finally:
            _end_group(process)
    return Ended(status, words.text())


@dataclass
class _Words:
    """What a tool says, as it comes: the first bytes, the last bytes, and how many there were."""

    first: bytearray = field(default_factory=bytearray)
    last: bytearray = field(default_factory=bytearray)
    count: int = 0

    def add(self, data: bytes) -> None:
        room = KEPT_BYTES - len(self.first)
        self.first += data[:room]
        self.last += data[room:]
        del self.last[:-KEPT_BYTES]
        self.count += len(data)

    def text(self) -> str:
        left_out = self.count - len(self.first) - len(self.last)
        gap = f"\n[{left_out} bytes left out]\n".encode() if left_out else b""
        return bytes(self.first + gap + self.last).decode(errors="replace")


def _listen(
    process: subprocess.Popen[bytes],
    deadline: float,
    words: _Words,
    heard: Callable[[str], None] | None,
    stopped: Callable[[], bool],
) -> int | None:
    """The status with which it ended, or None if it did not in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if stopped():
                raise KeyboardInterrupt
            if selector.select(min(left, _LOOK_SECONDS)):
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    break
                words.add(data)
                lines = data.decode(errors="replace").split("\n")
                if heard is not None and (line := next((line for line in reversed(lines) if line.strip()), "")):
                    heard(line.strip())
            elif process.poll() is not None:
                break  # it left something behind that holds its stdout
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(max(0.0, deadline - time.monotonic()))
    return None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of it and wait until that is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + _GONE_SECONDS
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.005)
