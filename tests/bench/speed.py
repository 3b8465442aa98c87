"""What running a bundle costs: against ONNX Runtime on the source, and against the bare engine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from artifacts.bundle import Bundle
from artifacts.runtime import Session
from tests.bench.cases import CASES, Case, bundle_of, tiny
from tests.bench.figures import Figure
from tests.bench.sessions import bare_session
from tests.bench.timing import interleaved
from tests.support.models import normal

THREADS = (1, 2)
OVERHEAD_BOUND = 50.0


def against_source(*, quick: bool) -> Iterator[Figure]:
    """Session.run against InferenceSession.run on the source file, same inputs and threads: a ratio of medians."""
    for case in CASES:
        if quick and not case.is_quick:
            continue
        bundle = bundle_of(case.name, case.file())
        for threads in THREADS:
            yield _ratio(case, bundle, threads, rounds=10 if quick else 100)


def _ratio(case: Case, bundle: Path, threads: int, rounds: int) -> Figure:
    source = bare_session(case.file(), threads)
    with Session.open(bundle, threads=threads) as session:
        calls = {
            "source": partial(source.run, None, dict(case.inputs)),
            "bundle": partial(session.run, case.inputs),
        }
        seconds = interleaved(calls, rounds)
    detail = f"{1e3 * seconds['bundle']:.2f} ms against {1e3 * seconds['source']:.2f} ms"
    what = f"{case.what}, {threads} thread{'s' if threads > 1 else ''}"
    return Figure(what, seconds["bundle"] / seconds["source"], "x", case.bound, detail)


def session_overhead(*, quick: bool) -> Iterator[Figure]:
    """What Session.run adds to a call of the engine that it runs."""
    bundle = bundle_of("tiny", tiny())
    (engine,) = Bundle.open(bundle).manifest.engines.values()
    bare = bare_session(bundle / engine.source, 1, folder=bundle)
    inputs = {"x": normal(2, 16)}
    with Session.open(bundle, threads=1) as session:
        calls = {"bare": partial(bare.run, None, inputs), "session": partial(session.run, inputs)}
        seconds = interleaved(calls, 200 if quick else 5000)
    added = 1e6 * (seconds["session"] - seconds["bare"])
    detail = f"{1e6 * seconds['session']:.1f} us against {1e6 * seconds['bare']:.1f} us for the engine alone"
    yield Figure("Session.run on a tiny model, over its engine", added, "us", OVERHEAD_BOUND, detail)
