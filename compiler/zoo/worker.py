"""A worker: the process in which one family of jobs is compiled. Imported by the process that workers are forked from.

What it says goes through a pipe as lines of JSON; what its libraries print goes into the job's log.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import functools
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, BinaryIO, cast

from artifacts.errors import Problem, UnspoolError
from compiler.build_log import BuildLog
from compiler.zoo.work import Ended, Ending, Family, Made, Work


@dataclass
class WorkerLog(BuildLog):
    """A build's log whose stages somebody else shows."""

    tell: Callable[[str], None] = lambda _: None

    @contextlib.contextmanager
    def stage(self, name: str, detail: str = "") -> Iterator[Callable[[str], None]]:
        """As `BuildLog.stage`."""
        self.tell(f"{name}: {detail}" if detail else name)
        print(f"{name}: {detail}", file=sys.stderr, flush=True)
        with super().stage(name, detail) as tell:
            yield tell


def run_family(connection: Connection, family: Family, threads: int) -> None:
    """Compile a family's jobs one after the other, and say what became of each."""
    os.setpgid(0, 0)  # what it starts can be ended with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the build's to answer
    threading.Thread(target=_end_with_build, daemon=True).start()
    gc.freeze()
    _use_threads(threads)
    from passes.memo import FORGETFUL, Memo

    memo = Memo() if len(family.works) > 1 else FORGETFUL

    def say(**words: Any) -> None:
        connection.send_bytes(json.dumps(words).encode())

    for work in family.works:
        say(began=work.job)
        with _logged(work):
            ended = _made(work, memo, functools.partial(_say_stage, say, work.job))
        say(ended=dataclasses.asdict(ended))
    connection.close()


def _say_stage(say: Callable[..., None], job: str, stage: str) -> None:
    say(staged=job, stage=stage)


def heard(message: bytes) -> Mapping[str, Any]:
    """What a worker said. Raises ValueError for what is no message."""
    found = json.loads(message)
    if not isinstance(found, dict):
        raise ValueError("a worker says objects")
    return found


def ended_of(words: Mapping[str, Any]) -> Ended:
    """The end of a job, as a worker said it."""
    made = words["made"]
    return Ended(
        job=words["job"],
        ending=Ending(words["ending"]),
        seconds=words["seconds"],
        reason=words["reason"],
        problems=tuple(words["problems"]),
        peak_bytes=words["peak_bytes"],
        made=None if made is None else Made(**{**made, "notices": tuple(made["notices"])}),
    )


def _end_with_build() -> None:
    """End this process, and what it started, when the build is gone, however it went."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


@contextlib.contextmanager
def _logged(work: Work) -> Iterator[None]:
    """Let what is printed in the block go into the job's log, a crash's traceback too."""
    kept = os.dup(1), os.dup(2)
    with _log_file(work.log) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
        faulthandler.enable(file=2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            faulthandler.disable()
            for descriptor, other in zip((1, 2), kept, strict=True):
                os.dup2(other, descriptor)
                os.close(other)


def _log_file(path: Path) -> BinaryIO:
    """A log to add to, begun anew once it is long; nowhere if it cannot be written, which a job has no part in."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_long = path.exists() and path.stat().st_size > _LONG_LOG
        return cast(BinaryIO, path.open("wb" if is_long else "ab", buffering=0))
    except OSError:
        return cast(BinaryIO, Path(os.devnull).open("wb", buffering=0))


_LONG_LOG = 4 << 20
"""Bytes."""


def _made(work: Work, memo: Any, tell: Callable[[str], None]) -> Ended:
    from compiler.zoo.making import make

    began = time.monotonic()

    def ended(ending: Ending, reason: str = "", problems: tuple[Problem, ...] = (), made: Made | None = None) -> Ended:
        told = tuple({key: str(value) for key, value in asdict(problem).items()} for problem in problems)
        return Ended(work.job, ending, time.monotonic() - began, reason, told, made=made)

    try:
        made, is_cached = make(work, memo, WorkerLog(quiet=True, tell=tell))
    except UnspoolError as error:
        return ended(Ending.FAILED, str(error.problems[0]).partition("\n")[0], error.problems)
    except MemoryError:
        reason = "there was not enough memory"
        return ended(
            Ending.OVER_MEMORY, reason, (Problem("zoo", work.job, reason, "give it more with limits: memory:"),)
        )
    except Exception as error:  # noqa: BLE001 - a defect of ours costs this job alone
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error or 'no message'}"
        hint = f"a defect of Unspool; {work.log} has a traceback to report"
        return ended(
            Ending.FAILED, reason, (Problem("internal", type(error).__name__, str(error) or "no message", hint),)
        )
    return ended(Ending.CACHED if is_cached else Ending.MADE, made=made)
