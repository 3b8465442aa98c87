"""Kill writers to a store at a URL at random points, two at a time, with a gc now and then.

    python -m tests.support.killed_uploads URL FOLDER COUNT SEED

The writers are forks of this process, which has imported everything and connected to nothing. Prints how many were
killed, and how many had put their bundle in place.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import fsspec.core  # noqa: F401 - what a store imports on its way
import s3fs  # noqa: F401

from artifacts.shard_store.collect import collect
from artifacts.shard_store.store import ShardStore
from tests.support.stores import content, share

TOGETHER = 2
CONTENTS = 12
SIZES = (100_000, 200_000, 400_000, 3_000_000)
"""Elements of the shards, four bytes each; the last goes in parts."""


def main(url: str, folder: Path, count: int, seed: int) -> None:
    """Kill that many."""
    random = Random(seed)
    first = _Writer(url, folder / "b-first", [0, 3])
    began = time.monotonic()
    assert _ended(first.process) == 0
    seconds = time.monotonic() - began
    killed = committed = 0
    for number in range(0, count, TOGETHER):
        alive = [
            _Writer(url, folder / f"b{each}", random.sample(range(CONTENTS), 3))
            for each in range(number, min(number + TOGETHER, count))
        ]
        collector = _start(lambda: _collect(url)) if number % 4 == 0 else None
        for writer in alive:
            # The first at once, so that on any machine one dies before it is done.
            time.sleep(random.uniform(0, 0.4 * seconds) if killed else 0)
            os.kill(writer.process, signal.SIGKILL)
            killed += _ended(writer.process) == -signal.SIGKILL
            committed += writer.place.exists()
        if collector is not None:
            assert _ended(collector) == 0
    print(killed, committed)


class _Writer:
    """A process that makes a bundle; it is connected when this is made."""

    def __init__(self, url: str, place: Path, seeds: list[int]) -> None:
        self.place = place
        reading, writing = os.pipe()

        def job() -> None:
            store = ShardStore.open(url, create=True)
            os.write(writing, b"x")
            share(store, place, {str(seed): content(seed, SIZES[seed % len(SIZES)]) for seed in seeds})

        self.process = _start(job)
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)


def _collect(url: str) -> None:
    collect(ShardStore.open(url, create=True))


def _start(job: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            job()
            status = 0
        finally:
            os._exit(status)
    return child


def _ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
