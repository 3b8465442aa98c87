"""Processes that serve bundles, for others to look at: python -m tests.bench.serving_process WAY COUNT IN.npz BUNDLE...

Imports what a serving host has, opens the bundles with their weights taken in one WAY, answers the request with each,
and prints a line of JSON. One process then answers once more for every line that it reads, with the processor seconds
that each bundle took. Several are forked once the bundles were read and checked and before any engine is opened, as
servers do it, and wait. All end with the standard input.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from artifacts.bundle import Bundle
from artifacts.manifest import Access
from artifacts.onnxruntime_module import import_onnxruntime
from artifacts.runtime import Session
from artifacts.samples import Arrays, read_arrays
from artifacts.weight_costs import own_bytes


def main(arguments: Sequence[str]) -> None:
    way, count, request, *bundles = arguments
    import_onnxruntime("bench")  # what the runtime takes itself is not the bundles'
    inputs, before, began = read_arrays(Path(request)), own_bytes() or 0, time.process_time()
    opened = [Bundle.open(bundle) for bundle in bundles]
    if count == "1":
        sessions = _opened(way, inputs, opened, before, began)
        for _ in sys.stdin:
            _say([_seconds(session, inputs) for session in sessions])
        return
    wait, end = os.pipe()
    gc.freeze()  # what Python's documentation advises before a fork: a collection would copy the pages that are shared
    for _ in range(int(count)):
        if os.fork() == 0:
            os.close(end)
            kept = _opened(way, inputs, opened, own_bytes() or 0, time.process_time())
            os.read(wait, 1)
            os._exit(len(kept) != len(bundles))
    sys.stdin.read()


def _opened(way: str, inputs: Arrays, bundles: Sequence[Bundle], before: int, began: float) -> list[Session]:
    """Sessions on the bundles, after a line about what has come since there were `before` bytes of the process's own
    and it had spent `began` seconds."""
    sessions = [Session.of(bundle, weights=cast(Access, way), threads=1) for bundle in bundles]
    seconds, opened = time.process_time() - began, (own_bytes() or 0) - before
    for session in sessions:
        session.run(inputs)
    answered = (own_bytes() or 0) - before
    seen = {"process": os.getpid(), "seconds": seconds, "opened": opened, "answered": answered}
    _say(seen)
    return sessions


def _say(found: object) -> None:
    """Print a line in one piece: several processes write to this pipe."""
    os.write(sys.stdout.fileno(), json.dumps(found).encode() + b"\n")


def _seconds(session: Session, inputs: Arrays) -> float:
    began = time.process_time()
    session.run(inputs)
    return time.process_time() - began


if __name__ == "__main__":
    main(sys.argv[1:])
