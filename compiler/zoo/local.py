"""Workers on this machine: a process each, with limits, so that what one job does to its process costs that job alone.

They are forked from one process that has imported what a compilation needs, and nothing else runs in that one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

import psutil

from compiler.zoo.work import Began, Broke, Ended, Ending, Event, Family, Staged, Work
from compiler.zoo.worker import ended_of, heard, run_family

_PRELOADED = ["compiler.zoo.preload"]

_WAIT = 0.1
"""Seconds that one look for events waits."""

_LEAVE = 30.0
"""Seconds that a worker may take to end once its last job has: what hangs then hangs in a library's ending."""

_LOOK = 0.25
"""Seconds between two looks at the memory that a worker holds: each goes through all processes of the machine."""


@dataclass(eq=False)
class Running:
    """A worker and its family; `done` of the family's jobs have ended, and the next one began at `began`."""

    process: ForkServerProcess
    connection: Connection
    family: Family
    began: float
    done: int = 0
    peak: int = 0
    looked: float = 0.0

    @property
    def work(self) -> Work | None:
        """What it is at."""
        return self.family.works[self.done] if self.done < len(self.family.works) else None


@dataclass(eq=False)
class LocalPool:
    """At most `workers` processes, with `memory` bytes each where a job says nothing else. See `Pool`.

    Memory is what a worker and all that it started hold and that is no file's; what it has in common with the process
    that it was forked from counts.
    """

    workers: int
    memory: int
    threads: int = 1
    name: str = "local"
    running: list[Running] = field(default_factory=list)
    _told: list[Event] = field(default_factory=list)

    def takes(self, family: Family) -> bool:  # noqa: ARG002 - a machine has room for any
        """See `Pool`."""
        return len(self.running) < self.workers

    def start(self, family: Family) -> None:
        """See `Pool`."""
        ours, theirs = multiprocessing.Pipe()
        process = _context(self.threads).Process(target=run_family, args=(theirs, family, self.threads), daemon=False)
        with _no_main_module():
            process.start()
        theirs.close()
        self.running.append(Running(process, ours, family, time.monotonic()))

    @property
    def busy(self) -> bool:
        """See `Pool`."""
        return bool(self.running or self._told)

    def events(self) -> Sequence[Event]:
        """See `Pool`."""
        found: list[Event] = [*self._told]
        self._told.clear()
        if not self.running:
            return found
        timeout = 0 if found else _WAIT
        wait([each for running in self.running for each in (running.connection, running.process.sentinel)], timeout)
        for running in [*self.running]:
            found += self._heard(running)
        return found

    def stop(self) -> Sequence[Event]:
        """See `Pool`."""
        found: list[Event] = []
        for running in self.running:
            found += self._said(running)
            _end(running)
            if running.work is not None:
                found.append(_ended(running, Ending.STOPPED, "the build was ended"))
        self.running.clear()
        return found

    def _heard(self, running: Running) -> Iterator[Event]:
        """What a worker said, and what is to be said of it."""
        is_over = not running.process.is_alive()  # before its pipe is read, so that nothing in that is missed
        yield from self._said(running)
        work = running.work
        if is_over:
            self.running.remove(running)
            _end(running)
            if work is not None:
                yield from self._broken(running, *_death(running))
            return
        now = time.monotonic()
        if work is None:
            if now - running.began > _LEAVE:
                running.process.kill()
            return
        memory = work.limits.memory or self.memory
        if now - running.looked > _LOOK:
            running.looked = now
            running.peak = max(running.peak, _memory(running.process.pid))
        if running.peak > memory:
            reason = f"used {_gib(running.peak)} of memory, and its limit is {_gib(memory)}"
            ending = Ending.OVER_MEMORY
        elif now - running.began > work.limits.seconds:
            reason = f"did not end within {work.limits.seconds:g} s"
            ending = Ending.OVER_TIME
        else:
            return
        self.running.remove(running)
        _end(running)
        yield from self._broken(running, ending, reason)

    def _broken(self, running: Running, ending: Ending, reason: str) -> Iterator[Event]:
        yield _ended(running, ending, reason)
        left = running.family.without(running.done + 1)
        if left.works:
            yield Broke(left)

    def _said(self, running: Running) -> Iterator[Event]:
        """What is in its pipe. One that says what no worker says is ended, and counts as crashed."""
        with contextlib.suppress(EOFError, OSError):
            while running.connection.poll():
                try:
                    yield self._event(running, heard(running.connection.recv_bytes()))
                except (ValueError, KeyError, TypeError):
                    running.process.kill()
                    return

    def _event(self, running: Running, words: Mapping[str, Any]) -> Event:
        if "began" in words:
            running.began, running.peak = time.monotonic(), 0
            return Began(words["began"])
        if "staged" in words:
            return Staged(words["staged"], words["stage"])
        ended = ended_of({**words["ended"], "peak_bytes": max(running.peak, _memory(running.process.pid))})
        running.done, running.began = running.done + 1, time.monotonic()
        return ended


def _context(threads: int) -> ForkServerContext:
    """Where workers are forked from; the first call starts it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with _environment(**{variable: str(threads) for variable in _THREADS}, TORCHINDUCTOR_CACHE_DIR=os.sep):
        forkserver.ensure_running()
    return context


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Read once, by libraries that make their threads when they are imported: nothing may have threads where it forks."""


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Variables of this process for what it starts in the block."""
    kept = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Let a worker not run the file anew that this process was started with: a script of ours, or Ray's."""
    kept = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = kept


def _ended(running: Running, ending: Ending, reason: str) -> Ended:
    work = running.work
    assert work is not None
    hints = {
        Ending.OVER_MEMORY: "give it more with limits: memory:, or compile it with smaller sizes",
        Ending.OVER_TIME: "give it more with limits: time:",
        Ending.CRASHED: f"{work.log} has what it printed",
    }
    problem = {"stage": "zoo", "subject": work.job, "message": reason, "hint": hints.get(ending, "")}
    seconds = time.monotonic() - running.began
    return Ended(work.job, ending, seconds, reason, (problem,), peak_bytes=running.peak or None)


def _death(running: Running) -> tuple[Ending, str]:
    """How a worker ended that nobody ended."""
    status = running.process.exitcode
    if status == -signal.SIGKILL:
        return Ending.CRASHED, "was killed: the system may have been out of memory"
    if status is not None and status < 0:
        return Ending.CRASHED, f"crashed: {signal.Signals(-status).name}"
    return Ending.CRASHED, f"its process ended with status {status}"


def _end(running: Running) -> None:
    """End a worker and all that it started."""
    if running.process.pid is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(running.process.pid, signal.SIGKILL)
    running.process.kill()
    running.process.join()
    running.connection.close()


def _memory(pid: int | None) -> int:
    """Bytes that a process and those below it hold and that are no file's."""
    total = 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                found = process.memory_info()
                total += found.rss - getattr(found, "shared", 0)
    return total


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB"
