"""Kill writers of one store at random points, several at a time, with gc and verify among them.

    python -m tests.support.store_killing FOLDER KILLS SEED

Every writer is a fork of this process: it makes a bundle of a few of the same contents and puts it in place, over
another one if need be; at one place one writer is alive at a time. Half of the places cannot be hard-linked from the
store, so that claims alone keep what they have. Half of the writers are killed from outside after a random time, and
some of those live. The others end themselves before the k-th thing that they ask the system for, or half-way through
it if that is to write, so that any step may be the last one. Most of the gc's live, and all that verify. Bundles are
also removed while others are written. Prints what was seen as one JSON document.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from artifacts.shard_store.collect import collect
from artifacts.shard_store.store import ShardStore
from artifacts.shard_store.verify import verify
from tests.support.bundles import Array
from tests.support.stores import content, share

AT_ONCE = 6
CONTENTS: Sequence[Array] = [content(seed, size) for seed, size in enumerate([300, 5_000, 60_000] * 6)]
STEPS = (
    "open",
    "os.link",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.scandir",
    "fcntl.flock",
    "os.write",
)
"""What a process asks the system for, as Python's audit events call it; for writing there is none."""


@dataclass
class Seen:
    """How processes ended by what they did, the last steps of writers that were killed, and all errors."""

    killed: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Child:
    """A process: what it does, where it notes its steps, the place that it writes to, and when to kill it."""

    job: str
    note: Path
    place: Path | None = None
    due: float = float("inf")


def main(arguments: Sequence[str]) -> None:
    """Kill as many writers as asked, and print what was seen."""
    folder, kills, random = Path(arguments[0]), int(arguments[1]), Random(int(arguments[2]))
    store, places, notes = folder / "store", folder / "bundles", folder / "notes"
    for path in (places, notes):
        path.mkdir(parents=True)
    began = time.monotonic()
    assert _wait(_start(_writer(store, places / "first", CONTENTS[:4], False, int), notes / "first", None)) == 0
    usual = time.monotonic() - began
    steps = (notes / "first").read_text().splitlines()
    writes = [number for number, step in enumerate(steps) if step == "os.write"]
    lasts = [*range(int(1.1 * len(steps))), *writes * 3]
    shutil.rmtree(places / "first")
    shutil.rmtree(store)  # the first writers of all make it, at once

    seen, running = Seen(), dict[int, Child]()
    number = 0
    while seen.killed["write"] < kills or running:
        while len(running) < AT_ONCE and seen.killed["write"] < kills:
            number += 1
            note = notes / str(number)
            last = random.choice(lasts) if random.random() < 0.5 else None
            if number % 4 == 0:
                lives = random.random() < 0.7
                pid = _start(_collector(store), note, None if lives else random.randrange(60))
                running[pid] = Child("gc", note)
            elif number % 25 == 0:
                running[_start(_verifier(store), note, None)] = Child("verify", note)
            else:
                busy = {child.place for child in running.values()}
                place = random.choice([free for n in range(kills // 3) if (free := places / str(n)) not in busy])
                chosen = random.sample(CONTENTS, random.randint(1, 6))
                pid = _start(_writer(store, place, chosen, int(place.name) % 2 == 1, _pause(random)), note, last)
                lives = last is not None or random.random() < 0.2
                due = float("inf") if lives else time.monotonic() + random.uniform(0, AT_ONCE * usual)
                running[pid] = Child("write", note, place, due)
        for pid in [pid for pid, child in running.items() if child.due < time.monotonic()]:
            os.kill(pid, signal.SIGKILL)
            running[pid] = replace(running[pid], due=float("inf"))
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            _record(seen, running.pop(pid), os.waitstatus_to_exitcode(status))
        elif random.random() < 0.002:
            _remove_one(random, places, {child.place for child in running.values()})
        else:
            time.sleep(0.001)
    seen.errors = [note.read_text() for note in sorted(notes.glob("*.error"))]
    print(json.dumps(vars(seen)))


def _record(seen: Seen, child: Child, status: int) -> None:
    if status == -signal.SIGKILL:
        seen.killed[child.job] += 1
        if child.job == "write":
            seen.steps.update(child.note.read_text().splitlines()[-1:])
    else:
        seen.ended[f"{child.job} {status}"] += 1


def _remove_one(random: Random, places: Path, busy: set[Path | None]) -> None:
    """Remove a bundle that nobody is writing to, in one step and then at leisure, as people and zoos do."""
    free = [place for place in places.iterdir() if not place.name.startswith(".") and place not in busy]
    if free:
        trash = places.parent / "trash"
        random.choice(free).rename(trash)
        shutil.rmtree(trash)


def _writer(
    store: Path, place: Path, chosen: Sequence[Array], unlinkable: bool, pause: Callable[[], object]
) -> Callable[[], object]:
    def write() -> None:
        if unlinkable:
            _refuse_links_outside(store)
        tensors = {f"w{number}": array for number, array in enumerate(chosen)}
        share(ShardStore.open(store, create=True), place, tensors, force=True, pause=pause)

    return write


def _pause(random: Random) -> Callable[[], object]:
    """What a compilation does between its shards and its bundle: nothing to the store, and for longer than here."""
    seconds = random.choice([0, 0.02, 0.1])
    return lambda: time.sleep(seconds)


def _collector(store: Path) -> Callable[[], object]:
    return lambda: collect(ShardStore.open(store, create=True))


def _verifier(store: Path) -> Callable[[], object]:
    def check() -> None:
        problems = verify(ShardStore.open(store, create=True)).problems
        assert not problems, "\n".join(map(str, problems))

    return check


def _refuse_links_outside(store: Path) -> None:
    link = os.link

    def linked(source: Path, target: Path) -> None:
        if not Path(target).is_relative_to(store):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source), None, str(target))
        link(source, target)

    os.link = linked  # type: ignore[assignment]


def _start(job: Callable[[], object], note: Path, last: int | None) -> int:
    """A process that does the job, and notes what it asks the system for; it dies at that of the number `last`."""
    note.touch()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _watch(note, last)
            job()
            status = 0
        except BaseException:  # noqa: BLE001 - the process ends here, and the parent reads why
            note.with_suffix(".error").write_text(traceback.format_exc())
        finally:
            os._exit(status)
    return child


def _watch(note: Path, last: int | None) -> None:
    descriptor = os.open(note, os.O_WRONLY)
    write = os.write
    count = 0

    def step(event: str, _: object, is_last: Callable[[], object] = int) -> None:
        nonlocal count
        if event in STEPS:
            write(descriptor, f"{event}\n".encode())
            if count == last:
                is_last()
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    def written(file: int, data: memoryview) -> int:
        step("os.write", None, lambda: write(file, data[: len(data) // 2]))
        return write(file, data)

    sys.addaudithook(step)
    os.write = written  # type: ignore[assignment]


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main(sys.argv[1:])
