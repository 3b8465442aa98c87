"""What decoding costs: the bundle's schedules against loops over the steps in ONNX Runtime."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from artifacts.bundle import Bundle, walk
from artifacts.runtime import Session
from artifacts.samples import read_arrays
from artifacts.schedule import Decode
from compiler.generation import TokenFlags
from compiler.options import CacheMode, CompileOptions, ScheduleName, WeightsName
from tests.bench.cases import BUILD, bundle_of, ocr, reader
from tests.bench.figures import Figure
from tests.bench.limits import TRIPS, limit
from tests.bench.sessions import bare_session
from tests.bench.step_loops import StepLoop, WholeLoop
from tests.bench.timing import interleaved
from tests.support.commands import unspool
from tests.support.models import OCR

Array = npt.NDArray[Any]

LENGTHS = (4, 12, 25, 50, 75)
LONGEST = LENGTHS[-1]
PAD = 0
NEVER = 1
"""The start token, as the token that ends a line: it is never read, so every decode has the length that it is given."""

FASTER_AT_LONGEST, FASTER_AT_MEAN, FASTER_PARTITIONED = 8, 5, 6
"""How many times as fast as the padded loop over the source file."""


@dataclass(frozen=True)
class Reader:
    """A model that reads a line of text, and a line."""

    name: str
    what: str
    file: Callable[[], Path]
    image: Array

    def bundle(
        self, schedule: ScheduleName, cache: CacheMode = CacheMode.AUTO, weights: WeightsName | None = None
    ) -> Path:
        """The bundle whose decodes end at the longest length only."""
        cuts = (25, 50, 75) if schedule == ScheduleName.PARTITIONED else ()
        tokens = TokenFlags(start=1, eos=(NEVER,), pad=PAD, max_new_tokens=LONGEST)
        options = CompileOptions(schedule=schedule, cache=cache, tokens=tokens, partitions=cuts, weights=weights)
        return bundle_of("-".join(map(str, filter(None, (self.name, schedule, cache, weights)))), self.file(), options)

    @cached_property
    def default(self) -> Callable[[int], list[int]]:
        """The default schedule, to a length that is given: how many tokens it makes becomes an input."""
        root = self.bundle(ScheduleName.AUTO)
        (engine,) = Bundle.open(root).manifest.engines.values()
        model = onnx.load_model(root / engine.source, load_external_data=False)
        limit(model.graph)
        model.graph.input.append(onnx.helper.make_tensor_value_info(TRIPS, onnx.TensorProto.INT64, []))
        session = bare_session(model.SerializeToString(), 1, folder=root)

        def decode(count: int) -> list[int]:
            tokens, *_ = session.run(None, {"image": self.image, TRIPS: np.array(count)})
            return list(map(int, tokens[0]))

        return decode

    @cached_property
    def partitioned(self) -> Callable[[], list[int]]:
        """Three partitions, one after the other."""
        session = Session.open(self.bundle(ScheduleName.PARTITIONED), threads=1)
        return lambda: list(map(int, session.run({"image": self.image})["tokens"][0]))

    @cached_property
    def cached(self) -> Callable[[int], list[int]]:
        """The cached loop over steps in ONNX Runtime."""
        return partial(StepLoop(self.bundle(ScheduleName.LOOP)), self.image)

    @cached_property
    def source(self) -> Callable[[int], list[int]]:
        """The padded loop over the source file in ONNX Runtime: 75 positions and the encoder at every step."""
        (model,) = Bundle.open(self.bundle(ScheduleName.AUTO)).manifest.models.values()
        assert isinstance(model.schedule, Decode)
        return partial(WholeLoop(self.file(), model.schedule.generation), self.image)

    @cached_property
    def padded(self) -> Callable[[int], list[int]]:
        """The padded loop over steps in ONNX Runtime: 75 positions at every step, the encoder once."""
        return partial(StepLoop(self.bundle(ScheduleName.LOOP, CacheMode.PADDED)), self.image)


def readers() -> tuple[Reader, ...]:
    lines = read_arrays(OCR / "eval.npz")
    image = np.random.default_rng(0).random((1, 1, 48, 320), np.float32)
    return (
        Reader("ocr", "examples/ocr", ocr, np.asarray(lines["images"][:1], np.float32)),
        Reader("reader", "47M reader", reader, image),
    )


def against_loops(*, quick: bool) -> Iterator[Figure]:
    """The default and the partitioned schedule against the loops that they replace, as ratios of medians."""
    models, rounds = readers()[: 1 if quick else 2], 2 if quick else 5
    for model in models:
        for count in LENGTHS:
            seconds = _timed({"default": model.default, "loop": model.cached}, count, 4 * rounds)
            what = f"{model.what}, default, over a cached loop, {count} tokens"
            yield _ratio(what, seconds["default"], seconds["loop"], 1.0)
    for model in models:
        yield from _against_padded(model, rounds)
    yield from _mean_of_lines(quick=quick)


def _against_padded(model: Reader, rounds: int) -> Iterator[Figure]:
    calls = {
        "default": model.default,
        "partitioned": lambda _: model.partitioned(),
        "source": model.source,
        "padded": model.padded,
    }
    seconds = _timed(calls, LONGEST, rounds)
    for name, times in (("default", FASTER_AT_LONGEST), ("partitioned", FASTER_PARTITIONED)):
        yield from _padded_ratios(f"{model.what}, {name}", seconds[name], seconds, f"{LONGEST} tokens", times)


def _mean_of_lines(*, quick: bool) -> Iterator[Figure]:
    """As many tokens as the lines of the example have in the mean, their end tokens counted."""
    (model, _), lines = readers(), read_arrays(OCR / "eval.npz")
    count = round(float((lines["targets"] != PAD).sum(1).mean()))
    calls = {"default": model.default, "source": model.source, "padded": model.padded}
    seconds = _timed(calls, count, 3 if quick else 11)
    length = f"{count} tokens, the mean of its lines"
    yield from _padded_ratios(f"{model.what}, default", seconds["default"], seconds, length, FASTER_AT_MEAN)


def _padded_ratios(what: str, ours: float, seconds: Mapping[str, float], length: str, times: int) -> Iterator[Figure]:
    """Over the loop that a padded decode starts from, and, for information, over one whose encoder runs once."""
    yield _ratio(f"{what}, over the padded loop, {length}", ours, seconds["source"], 1 / times)
    yield _ratio(f"{what}, over a padded loop that keeps the encoder's answer, {length}", ours, seconds["padded"])


_LEAST_SECONDS = 4.0
"""For one row: decodes of a few milliseconds are many then."""


def _timed(decoders: Mapping[str, Callable[[int], list[int]]], count: int, rounds: int) -> dict[str, float]:
    """Median seconds of each. Raises RuntimeError if they do not read the same."""
    read = {name: decode(count) for name, decode in decoders.items()}
    if any(tokens != next(iter(read.values())) or len(tokens) != count for tokens in read.values()):
        raise RuntimeError(f"not the same {count} tokens: {read}")
    calls = {name: partial(decode, count) for name, decode in decoders.items()}
    return interleaved(calls, rounds, clock=time.process_time, least_seconds=_LEAST_SECONDS)


def _ratio(what: str, ours: float, theirs: float, bound: float | None = None) -> Figure:
    detail = f"{1e3 * ours:.2f} ms against {1e3 * theirs:.2f} ms: {theirs / ours:.1f} times as fast"
    return Figure(what, ours / theirs, "x", bound, detail)


OPEN_BOUND, SIZE_BOUND, COMPILE_BOUND = 0.5, 1.05, 3.0
_MB = 1e6


def partitioned_bundles(*, quick: bool) -> Iterator[Figure]:
    """What three partitions of 25 positions cost before they run: to open, to store, and to compile."""
    for model in readers()[: 1 if quick else 2]:
        root = model.bundle(ScheduleName.PARTITIONED)
        seconds = interleaved({"open": partial(_opened, root)}, 1 if quick else 5, warm_up=1, clock=time.process_time)
        what = f"{model.what}, three partitions of 25 tokens"
        yield Figure(f"{what}, to open, for each", seconds["open"] / 3, "s", OPEN_BOUND, "the encoder is counted in")
        report = Bundle.open(root).report()
        assert report is not None
        assert report.weights is not None
        weights = report.weights.unique_bytes
        sizes = {path: status.st_size for path, status in walk(root) if stat.S_ISREG(status.st_mode)}
        samples = sum(size for path, size in sizes.items() if path.startswith("samples/"))
        whole = sum(sizes.values())
        detail = f"{whole / _MB:.2f} MB, {samples / _MB:.2f} MB of it samples, for {weights / _MB:.2f} MB of weights"
        yield Figure(f"{what}, bytes over those of the weights", whole / weights, "x", SIZE_BOUND, detail)
    if not quick:
        yield _compile_ratio()


def _opened(root: Path) -> None:
    Session.open(root, threads=1).close()


def _compile_ratio() -> Figure:
    """Processor time, because waiting for a processor would count in both."""
    flags = ("--eos", str(NEVER), "--max-length", str(LONGEST), "--force")
    bundle = BUILD / "cold" / "ocr"
    forms = {"step": ("--schedule", "loop"), "partitions": ("--partitions", "25,50,75")}
    seconds = {}
    for name, form in forms.items():
        seconds[name] = unspool("compile", ocr(), "-o", bundle, *form, *flags).processor_seconds
    detail = f"{seconds['partitions']:.1f} s of processor time against {seconds['step']:.1f} s"
    what = "examples/ocr, to compile three partitions of 25 tokens, over a step alone"
    return Figure(what, seconds["partitions"] / seconds["step"], "x", COMPILE_BOUND, detail)
