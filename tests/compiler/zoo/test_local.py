"""What a pool makes of what its workers say, with workers that are no processes."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from compiler.options import CompileOptions
from compiler.zoo import local
from compiler.zoo.jobs import JobLimits
from compiler.zoo.local import LocalPool, Running
from compiler.zoo.work import Began, Broke, Ended, Ending, Event, Family, Staged, Work


@dataclass(eq=False)
class Stub:
    """A process that says what it is told to say, and dies when it is killed."""

    told: Connection
    pid: int | None = None
    exitcode: int | None = None
    ends: list[Connection] = field(default_factory=lambda: list(multiprocessing.Pipe(duplex=False)))

    @property
    def sentinel(self) -> int:
        return self.ends[0].fileno()

    def is_alive(self) -> bool:
        return self.exitcode is None

    def kill(self) -> None:
        self.exitcode = -signal.SIGKILL if self.exitcode is None else self.exitcode
        self.ends[1].close()

    def join(self) -> None:
        assert self.exitcode is not None

    def say(self, **words: Any) -> None:
        self.told.send_bytes(json.dumps(words).encode())


def work(name: str, **limits: Any) -> Work:
    return Work(name, (), CompileOptions(), Path("out"), "store", Path(f"{name}.log"), JobLimits(**limits))


ENDED = {"job": "a", "ending": "made", "seconds": 1.0, "reason": "", "problems": [], "made": None}


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LocalPool, Stub]]:
    """A pool whose one worker has jobs a and b."""
    monkeypatch.setattr(local, "_memory", lambda _pid: 5 << 30)
    monkeypatch.setattr(local, "_WAIT", 0.01)
    ours, theirs = multiprocessing.Pipe()
    stub = Stub(theirs)
    family = Family((work("a", memory=8 << 30), work("b", memory=8 << 30)))
    found = LocalPool(1, 8 << 30)
    found.running.append(Running(stub, ours, family, time.monotonic()))  # type: ignore[arg-type]
    yield found, stub
    for connection in (ours, theirs, *stub.ends):
        connection.close()


def heard(pool: LocalPool) -> list[Event]:
    return [*pool.events(), *pool.events()]


def test_what_a_worker_says_is_told_in_order(pool: tuple[LocalPool, Stub]) -> None:
    found, stub = pool
    stub.say(began="a")
    stub.say(staged="a", stage="emit")
    stub.say(ended=ENDED)
    events = heard(found)
    assert events[:2] == [Began("a"), Staged("a", "emit")]
    assert isinstance(events[2], Ended)
    assert (events[2].ending, events[2].peak_bytes) == (Ending.MADE, 5 << 30)
    assert found.busy


@pytest.mark.parametrize("words", [b"no JSON", b"[]", b"{}", b'{"ended": {"job": "a"}}', b'{"ended": 3}'])
def test_a_worker_that_says_what_none_says_has_crashed(pool: tuple[LocalPool, Stub], words: bytes) -> None:
    found, stub = pool
    stub.say(began="a")
    stub.told.send_bytes(words)
    events = heard(found)
    assert [(event.job, event.ending) for event in events if isinstance(event, Ended)] == [("a", Ending.CRASHED)]
    assert [event.family.works[0].job for event in events if isinstance(event, Broke)] == ["b"]
    assert not found.busy


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (-signal.SIGSEGV, "crashed: SIGSEGV"),
        (-signal.SIGKILL, "was killed: the system may have been out of memory"),
        (3, "its process ended with status 3"),
    ],
)
def test_how_a_worker_died_is_told(pool: tuple[LocalPool, Stub], status: int, reason: str) -> None:
    found, stub = pool
    stub.say(began="a")
    stub.exitcode = int(status)
    ended = next(event for event in heard(found) if isinstance(event, Ended))
    assert (ended.job, ended.reason) == ("a", reason)


def test_what_was_said_before_it_died_counts(pool: tuple[LocalPool, Stub]) -> None:
    found, stub = pool
    stub.say(began="a")
    stub.say(ended=ENDED)
    stub.exitcode = 1
    events = [event for event in heard(found) if isinstance(event, Ended)]
    assert [(event.job, event.ending) for event in events] == [("a", Ending.MADE), ("b", Ending.CRASHED)]


def test_a_worker_that_does_not_leave_is_ended(pool: tuple[LocalPool, Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    found, stub = pool
    monkeypatch.setattr(local, "_LEAVE", 0.0)
    stub.say(ended=ENDED)
    stub.say(ended={**ENDED, "job": "b"})
    events = [*heard(found), *heard(found)]
    assert [event.job for event in events if isinstance(event, Ended)] == ["a", "b"]
    assert not found.busy


def test_limits_end_a_worker_and_the_rest_of_its_family_goes_on(
    pool: tuple[LocalPool, Stub], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, stub = pool
    monkeypatch.setattr(local, "_memory", lambda _pid: 9 << 30)
    stub.say(began="a")
    events = heard(found)
    ended = next(event for event in events if isinstance(event, Ended))
    assert (ended.ending, ended.reason) == (
        Ending.OVER_MEMORY,
        "used 9.00 GiB of memory, and its limit is 8.00 GiB",
    )
    assert [event.family.works[0].job for event in events if isinstance(event, Broke)] == ["b"]


def test_a_pool_that_is_stopped_says_what_was_running(pool: tuple[LocalPool, Stub]) -> None:
    found, stub = pool
    stub.say(began="a")
    events = found.stop()
    assert [(event.job, event.ending) for event in events if isinstance(event, Ended)] == [("a", Ending.STOPPED)]
    assert (found.busy, stub.is_alive()) == (False, False)
