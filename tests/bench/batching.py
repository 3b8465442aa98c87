"""What it costs to read many lines: one by one, or several together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np

from artifacts.runtime import Session, live_rows
from artifacts.samples import Arrays, read_arrays
from compiler.generation import TokenFlags
from compiler.options import CompileOptions, ScheduleName
from tests.bench.cases import bundle_of, ocr
from tests.bench.figures import Figure
from tests.bench.timing import interleaved
from tests.support.models import OCR

BATCHES = (8, 32)
FORMS = {ScheduleName.ENGINE_LOOP: "default", ScheduleName.LOOP: "loop", ScheduleName.PARTITIONED: "partitioned"}
WHEN_ALL_HAVE = 1.0
"""The share of ended rows at which rows are dropped, if none is to be before all have ended."""


def of_many_lines(*, quick: bool) -> Iterator[Figure]:
    """The 256 lines of examples/ocr in batches, in the order given and by their lengths; where the host loops, also
    without dropping rows."""
    lines = read_arrays(OCR / "eval.npz")
    requests = [{"image": np.asarray(image[None], np.float32)} for image in lines["images"]]
    lengths = (lines["targets"] != 0).sum(1).tolist()
    for form, name in FORMS.items():
        with Session.open(_bundle(form), threads=1) as session:
            calls: dict[str, Callable[[], object]] = {"alone": partial(session.run_many, requests, batch=1)}
            for batch in BATCHES:
                if form != ScheduleName.ENGINE_LOOP:
                    calls[f"kept {batch}"] = partial(_kept, session, requests, batch)
                calls[f"together {batch}"] = partial(session.run_many, requests, batch=batch)
                calls[f"sorted {batch}"] = partial(session.run_many, requests, batch=batch, expected=lengths)
            seconds = interleaved(calls, 1 if quick else 11, warm_up=1, clock=time.process_time)
        what = f"examples/ocr, {name}"
        for batch in BATCHES:
            together, known = (seconds[f"{how} {batch}"] for how in ("together", "sorted"))
            yield _ratio(f"{what}, batches of {batch}, over one by one", together, seconds["alone"])
            kept = seconds.get(f"kept {batch}")
            if kept is not None:
                yield _ratio(f"{what}, batches of {batch}, over the same without dropping rows", together, kept, 1.0)
            yield _ratio(f"{what}, batches of {batch} by real length, over the given order", known, together)


def _bundle(form: ScheduleName) -> Path:
    cuts = (25, 50, 75) if form == ScheduleName.PARTITIONED else ()
    options = CompileOptions(schedule=form, partitions=cuts, tokens=TokenFlags(max_new_tokens=75))
    return bundle_of(f"batching-{form}", ocr(), options)


def _kept(session: Session, requests: Sequence[Arrays], batch: int) -> None:
    with patch.object(live_rows, "DROPPED_SHARE", WHEN_ALL_HAVE):
        session.run_many(requests, batch=batch)


def _ratio(what: str, ours: float, theirs: float, bound: float | None = None) -> Figure:
    return Figure(what, ours / theirs, "x", bound, f"{ours:.3f} s against {theirs:.3f} s for 256 lines")
