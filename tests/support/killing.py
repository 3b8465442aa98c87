"""Kill compilations at random points, and look at what each one left.

    python -m tests.support.killing FOLDER OLD.onnx NEW.onnx KILLS SEED

The command runs in forks of this process, which has imported everything: kills fall on the compilation and not on its
imports. Half of them replace a bundle by force, half make one where there is none; every third is held back until the
bundle is about to be put in place. Prints what was seen as one JSON document.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Literal

import torch

import compiler.backend
import compiler.frontend  # noqa: F401 - what a compilation imports on its way
from artifacts.bundle import Bundle
from artifacts.manifest import MANIFEST_FILE
from compiler.cli.main import main as unspool

LONGEST = 120.0
"""Seconds to wait for a compilation that should be about to end."""


@dataclass(frozen=True)
class Kill:
    """One kill: what is at the destination (`none`, the digest of a whole bundle) and how many folders beside it."""

    force: bool
    late: bool
    ended_before: bool
    found: str
    beside: int


@dataclass(frozen=True)
class Seen:
    """All kills, the digests of the two bundles, and what the run after each of them left."""

    old: str
    new: str
    kills: tuple[Kill, ...]
    left: tuple[str, ...]
    statuses: tuple[int, ...]


def main(arguments: Sequence[str]) -> None:
    """Kill as often as asked, and print what was seen."""
    folder, old, new = map(Path, arguments[:3])
    count, random = int(arguments[3]), Random(int(arguments[4]))
    torch.set_num_threads(1)
    folder.mkdir()
    known = {}
    seconds = 0.0
    for name, model in (("old", old), ("new", new)):
        began = time.monotonic()
        assert _run("compile", f"m={model}", "-o", folder.parent / name) == 0
        seconds = time.monotonic() - began
        known[name] = Bundle.open(folder.parent / name).manifest.digest
    kills, statuses = [], []
    for number in range(count):
        force, late = number % 2 == 0, number % 3 == 0
        bundle = folder / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        if force:
            shutil.copytree(folder.parent / "old", bundle)
        kills.append(_kill(random, new, bundle, force, late, seconds))
        # Every fifth time a run follows that is let be; the others find what several kills have left.
        if number % 5 == 4 or number == count - 1:
            statuses.append(_run("compile", f"m={new}", "-o", bundle, *(["--force"] if bundle.exists() else [])))
            statuses.append(_run("verify", bundle))
    left = tuple(sorted(path.name for path in folder.iterdir()))
    print(json.dumps(asdict(Seen(known["old"], known["new"], tuple(kills), left, tuple(statuses)))))


def _kill(random: Random, model: Path, bundle: Path, force: bool, late: bool, seconds: float) -> Kill:
    before = {path.name for path in bundle.parent.iterdir()}
    child = _start("compile", f"m={model}", "-o", bundle, *(["--force"] if force else []))
    if late:
        deadline = time.monotonic() + LONGEST
        while not _about_to_commit(bundle, before) and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(random.uniform(0, 0.02))
    else:
        time.sleep(random.uniform(0, 1.05 * seconds))
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found: Literal["none"] | str = "none"
    if os.path.lexists(bundle):
        found = Bundle.open(bundle).manifest.digest
        assert _run("verify", bundle) == 0
    beside = sum(path.name != bundle.name for path in bundle.parent.iterdir())
    return Kill(force, late, status != -signal.SIGKILL, found, beside)


def _about_to_commit(bundle: Path, before: set[str]) -> bool:
    """Whether a folder that was not there before holds a manifest, or has become the bundle already."""
    made = [path for path in bundle.parent.iterdir() if path.name not in before]
    return any((path / MANIFEST_FILE).exists() for path in made)


def _run(*arguments: object) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(_start(*arguments), 0)[1])


def _start(*arguments: object) -> int:
    child = os.fork()
    if child == 0:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (1, 2):
            os.dup2(nothing, descriptor)
        status = 1
        try:
            status = unspool([str(argument) for argument in arguments])
        finally:
            os._exit(status)
    return child


if __name__ == "__main__":
    main(sys.argv[1:])
