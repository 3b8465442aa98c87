"""Damage models, bundles and packed bundles, run the real commands on them, and count how that ends.

    python -m tests.fuzz --models 6000 --bundles 4000 --archives 1000 --seed 0 --workers 2
    python -m tests.fuzz --only model:17 --only bundle:4          # trials again, by their seeds

Every trial has to end in one clear error, or in success where the damage did no harm. What must not be (a traceback, a
crash, a hang, a file where none was asked for, an error without a stage, a subject or a hint) is printed as a defect,
and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.base_models import BUNDLED, write_base
from tests.fuzz.trial import TOKENS
from tests.support.cli import child_environment

Found = dict[str, Any]

TRIALS_APART = 1_000_000
"""Seeds from here on are not those of the long runs."""


def main() -> int:
    """Run the trials that the command line asks for; 0 if none of them shows a defect."""
    asked = _arguments()
    trials = [_named(text) for text in asked.only] or [
        {"subject": subject, "seed": asked.seed + number}
        for subject, count in (("model", asked.models), ("bundle", asked.bundles), ("archive", asked.archives))
        for number in range(count)
    ]
    # All kinds from the beginning, whenever it is stopped.
    trials.sort(key=lambda trial: trial["seed"])
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        bundles = [] if all(trial["subject"] == "model" for trial in trials) else bundles_of(BUNDLED, Path(folder))
        verdicts = _until_interrupted(run(trials, Path(folder), bundles, asked.workers))
        return _report(verdicts, len(trials), asked.verbose)


def run(trials: Sequence[Found], folder: Path, bundles: Sequence[Path], workers: int) -> Iterator[Found]:
    """The verdicts, in the order in which they come."""
    waiting: queue.SimpleQueue[Found] = queue.SimpleQueue()
    found: queue.SimpleQueue[Found] = queue.SimpleQueue()
    for trial in trials:
        waiting.put(trial)
    hands = [
        threading.Thread(target=_work, args=(waiting, found, folder / f"worker{number}", bundles), daemon=True)
        for number in range(workers)
    ]
    for hand in hands:
        hand.start()
    for _ in trials:
        yield found.get()
    for hand in hands:
        hand.join()


def _until_interrupted(verdicts: Iterator[Found]) -> Iterator[Found]:
    """A run that is stopped by hand still says what it has seen."""
    with contextlib.suppress(KeyboardInterrupt):
        yield from verdicts


def _work(
    waiting: queue.SimpleQueue[Found], found: queue.SimpleQueue[Found], folder: Path, bundles: Sequence[Path]
) -> None:
    """Give trials to a worker process, one at a time; a process that ends is a finding, and is followed by another."""
    life = 0
    process = None
    while not waiting.empty():
        try:
            trial = waiting.get_nowait()
        except queue.Empty:
            break
        if process is None:
            life += 1
            process = _start(folder / str(life), bundles)
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(trial) + "\n")
            process.stdin.flush()
        begun, line = process.stdout.readline(), process.stdout.readline()
        if line:
            found.put(json.loads(line))
            continue
        process.communicate()
        log = (folder / f"{life}.log").read_text(errors="replace")[-1500:]
        detail = f"{'the process' if begun else 'a worker without a trial'} ended with {process.returncode}: {log}"
        found.put({"trial": trial, "damage": "", "stage": "", "end": "defect", "detail": detail, "seconds": 0.0})
        process = None
    if process is not None:
        process.communicate()


def _start(folder: Path, bundles: Sequence[Path]) -> subprocess.Popen[str]:
    folder.parent.mkdir(exist_ok=True)
    with folder.with_name(f"{folder.name}.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker", str(folder), *map(str, bundles)],
            env=child_environment({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def bundles_of(bases: Sequence[str], folder: Path) -> list[Path]:
    """A bundle of each of these base models."""
    made = []
    for name in bases:
        source = write_base(name, folder / "sources" / name).rename(folder / "sources" / name / f"{name}.onnx")
        bundle = folder / "bundles" / name
        tokens = TOKENS if name == "decoder" else ()
        command = [sys.executable, "-m", "compiler.cli.main", "compile", str(source), "-o", str(bundle), *tokens]
        subprocess.run(command, env=child_environment(), capture_output=True, check=True)
        made.append(bundle)
    return made


def _report(verdicts: Iterator[Found], total: int, verbose: bool) -> int:
    counts: Counter[tuple[str, str, str]] = Counter()
    defects = 0
    slowest = 0.0
    for number, found in enumerate(verdicts, 1):
        trial = found["trial"]
        counts[trial["subject"], found["end"], found["stage"] if found["end"] == "refused" else ""] += 1
        slowest = max(slowest, found["seconds"])
        if found["end"] == "defect" or verbose:
            defects += found["end"] == "defect"
            name = f"{trial['subject']}:{trial['seed']}"
            print(f"{found['end']} {name} [{found['damage']}] {found['detail']}", flush=True)
        if number % 250 == 0:
            print(f"{number} of {total}, {defects} defects", file=sys.stderr, flush=True)
    for (subject, end, stage), count in sorted(counts.items()):
        print(f"{count:6} {subject:<7} {end} {stage}")
    print(f"{sum(counts.values()):6} trials, {defects} defects, the slowest took {slowest:.1f} s")
    return 1 if defects else 0


def _named(text: str) -> Found:
    subject, _, seed = text.partition(":")
    return {"subject": subject, "seed": int(seed)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    for name, default in (("models", 600), ("bundles", 400), ("archives", 100), ("seed", 0), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", action="append", default=[], metavar="SUBJECT:SEED")
    parser.add_argument("--verbose", action="store_true", help="print every trial")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
