"""What weights take in memory: of one process, and of several on one bundle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from artifacts.bundle import Bundle
from artifacts.host_cache import CACHE_VARIABLE
from artifacts.manifest import Access
from artifacts.runtime import Session
from artifacts.samples import Arrays, archive_bytes, read_arrays
from compiler.generation import TokenFlags
from compiler.options import CompileOptions, ScheduleName, WeightsName
from tests.bench.cases import BUILD, bundle_of, ocr
from tests.bench.decoding import readers
from tests.bench.figures import Figure
from tests.bench.timing import interleaved, turns
from tests.support.memory import proportional
from tests.support.models import OCR, PROJECT

WAYS: tuple[Access, ...] = ("mapped", "cached", "prepacked")
PRIVATE_BOUND, TOTAL_BOUND = 0.25, 1.5
PROCESSES = 4
_FORMS = ("three partitions", "encoder and step")
_MB = 1e6


@dataclass(frozen=True)
class Serving:
    """A process that has opened bundles, and what it said of that."""

    process: subprocess.Popen[str]
    seen: tuple[Mapping[str, float], ...]

    def seconds(self) -> list[float]:
        """Processor seconds of one more answer of each bundle."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: list[float] = json.loads(self.process.stdout.readline())
        return found

    @property
    def bytes(self) -> int:
        """Proportional set size of all that serve, and of the process that forked them."""
        return sum(map(proportional, {self.process.pid, *(int(seen["process"]) for seen in self.seen)}))


@contextmanager
def serving(way: Access, count: int, request: Path, *bundles: Path) -> Iterator[Serving]:
    """So many processes on the same bundles. Raises RuntimeError if they do not come up."""
    command = [sys.executable, "-m", "tests.bench.serving_process", way, str(count), str(request), *map(str, bundles)]
    with subprocess.Popen(
        command, cwd=PROJECT, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(count)]
        if not all(lines):
            raise RuntimeError(f"{' '.join(command)} ended")
        yield Serving(process, tuple(json.loads(line) for line in lines))
        process.stdin.close()


def in_memory(*, quick: bool) -> Iterator[Figure]:
    """The partitions and the step of a reader: what they take, how fast they are, and four processes over one."""
    model = readers()[0 if quick else 1]
    request = BUILD / f"{model.name}-line.npz"
    request.parent.mkdir(parents=True, exist_ok=True)
    request.write_bytes(archive_bytes({"image": model.image}))
    bundles = [model.bundle(schedule) for schedule in (ScheduleName.PARTITIONED, ScheduleName.LOOP)]
    yield from _private(model.what, request, bundles)
    yield from _speed(model.what, request, bundles, 3 if quick else 15)
    # An engine that guesses maps no weights: the default of who asks for those guesses nothing.
    default = model.bundle(ScheduleName.AUTO, weights=WeightsName.MAPPED)
    forms = {"default": default, **dict(zip(_FORMS, bundles, strict=True))}
    for name, bundle in forms.items():
        yield from _processes(f"{model.what}, {name}", request, bundle)
    yield from _workers(quick=quick)


def _private(what: str, request: Path, bundles: Sequence[Path]) -> Iterator[Figure]:
    weights = _weight_bytes(bundles[0])
    _fill_cache(request, *bundles)
    for way in WAYS:
        with serving(way, 1, request, *bundles) as found:
            (seen,) = found.seen
        yield Figure(
            f"{what}, three partitions and a step, {way}: private memory over the weights",
            seen["opened"] / weights,
            "x",
            PRIVATE_BOUND if way == "mapped" else None,
            f"{seen['opened'] / _MB:.1f} MB for {weights / _MB:.1f} MB, {seen['answered'] / _MB:.1f} MB after a line of"
            f" each; {seen['seconds']:.2f} s of processor time to open",
        )


def _speed(what: str, request: Path, bundles: Sequence[Path], rounds: int) -> Iterator[Figure]:
    with ExitStack() as stack:
        open_ways = {way: stack.enter_context(serving(way, 1, request, *bundles)) for way in WAYS}
        latest: dict[Access, list[float]] = {}

        def spent(way: Access, at: int) -> float:
            latest[way] = open_ways[way].seconds()
            return latest[way][at]

        for at, form in enumerate(_FORMS):
            seconds = turns({way: partial(spent, way, at) for way in WAYS}, rounds)
            for way in WAYS[:2]:
                ours, theirs = seconds[way], seconds["prepacked"]
                detail = f"{1e3 * ours:.1f} ms against {1e3 * theirs:.1f} ms for a line of 75 tokens, one thread"
                yield Figure(f"{what}, {form}, {way} over prepacked", ours / theirs, "x", None, detail)


def _processes(what: str, request: Path, bundle: Path) -> Iterator[Figure]:
    _fill_cache(request, bundle)
    for way in WAYS:
        with serving(way, 1, request, bundle) as alone:
            one = alone.bytes
        with serving(way, PROCESSES, request, bundle) as together:
            four = together.bytes
        yield Figure(
            f"{what}, {way}: {PROCESSES} processes over one",
            four / one,
            "x",
            None if way == "prepacked" else TOTAL_BOUND,
            f"{four / _MB:.0f} MB against {one / _MB:.0f} MB, Python and the runtime included",
        )


def _workers(*, quick: bool) -> Iterator[Figure]:
    """Two workers over one, in wall-clock time: the smallest model, whose host has most to do, and its default."""
    lines = read_arrays(OCR / "eval.npz")
    requests: list[Arrays] = [{"image": np.asarray(image[None], np.float32)} for image in lines["images"]]
    for schedule, name in ((ScheduleName.AUTO, "default"), (ScheduleName.LOOP, "loop")):
        options = CompileOptions(schedule=schedule, tokens=TokenFlags(max_new_tokens=75))
        bundle = bundle_of(f"workers-{schedule}", ocr(), options)
        with ExitStack() as stack:
            sessions = {n: stack.enter_context(Session.open(bundle, threads=1, workers=n)) for n in (1, 2)}
            calls: dict[str, Callable[[], object]] = {
                str(n): partial(session.run_many, requests, batch=1) for n, session in sessions.items()
            }
            seconds = interleaved(calls, 1 if quick else 11, warm_up=1, clock=time.perf_counter)
        detail = f"{seconds['2']:.3f} s against {seconds['1']:.3f} s of wall-clock time for 256 lines"
        yield Figure(f"examples/ocr, {name}, two workers over one", seconds["2"] / seconds["1"], "x", None, detail)


def _fill_cache(request: Path, *bundles: Path) -> None:
    """Whoever makes what is cached has more memory than those that find it."""
    with serving("cached", 1, request, *bundles):
        pass


def _weight_bytes(bundle: Path) -> int:
    report = Bundle.open(bundle).report()
    assert report is not None
    assert report.weights is not None
    return report.weights.unique_bytes


def _environment() -> dict[str, str]:
    return {**os.environ, CACHE_VARIABLE: str(BUILD / "cache")}
