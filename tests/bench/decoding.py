"""What decoding costs, by who loops over the tokens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import mean

import numpy as np

from artifacts.runtime import Session
from artifacts.samples import read_arrays
from compiler.options import CompileOptions, ScheduleName
from tests.bench.cases import bundle_of, ocr
from tests.bench.figures import Figure
from tests.bench.timing import interleaved
from tests.support.models import OCR

LINES = 64


def schedules(*, quick: bool) -> Iterator[Figure]:
    """Milliseconds that a line of text takes to read, by who loops over its tokens; one thread."""
    count = LINES // 8 if quick else LINES
    lines = read_arrays(OCR / "eval.npz")
    images = np.asarray(lines["images"][:count], np.float32)
    names = [ScheduleName.LOOP, ScheduleName.ENGINE_LOOP, *([] if quick else [ScheduleName.UNROLLED])]
    sessions = {
        schedule: Session.open(bundle_of(f"ocr-{schedule}", ocr(), CompileOptions(schedule=schedule)), threads=1)
        for schedule in names
    }
    seconds: dict[str, list[float]] = {schedule: [] for schedule in names}
    for number in range(count):
        inputs = {"image": images[number : number + 1]}
        calls = {str(schedule): partial(session.run, inputs) for schedule, session in sessions.items()}
        for schedule, spent in interleaved(calls, 1, warm_up=0).items():
            seconds[schedule].append(spent)
    for schedule, found in seconds.items():
        what = f"examples/ocr, `--schedule {schedule}`"
        yield Figure(what, 1e3 * mean(found), "ms a line", detail=f"mean of {count} lines, each alone")
