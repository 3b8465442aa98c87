"""Opens a bundle and answers requests: the part of Unspool that a serving host needs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.bundle import Bundle
from artifacts.engines import EngineRunner, open_engine
from artifacts.errors import BundleError, Problem, RunError
from artifacts.manifest import Access, ModelEntry
from artifacts.runtime.answer import Answer
from artifacts.runtime.batches import Rows, answer_rows
from artifacts.runtime.buckets import BucketPlan, Plan
from artifacts.runtime.decode import HostDecoder
from artifacts.runtime.engine_decode import EngineDecoder
from artifacts.runtime.inputs import checked_inputs
from artifacts.runtime.partition_decode import PartitionDecoder
from artifacts.runtime.workers import Workers, equal_share
from artifacts.schedule import Beams, Decode, Engine, Host, Partitioned, Schedule, Single, Unrolled
from artifacts.spec import Signature, TensorSpec

Array = npt.NDArray[Any]


class Session:
    """One model of a bundle, ready to run. Also a context manager that closes it.

    `run` may be called from several threads if the engine's runtime allows that; ONNX Runtime does. All of them share
    the session's weights.
    """

    def __init__(
        self,
        model: ModelEntry,
        runners: Mapping[str, EngineRunner],
        *,
        beams: Beams | int | None = None,
        workers: int = 1,
    ) -> None:
        """`runners` holds an open runner for every engine that the model's functions are in; the rest as in `open`."""
        if workers < 1:
            raise RunError.of("session", "workers", f"is {workers}", "give 1 or more")
        self._runners = dict(runners)
        self._schedule = model.schedule if beams is None else _with_beams(model.schedule, beams)
        self._plan: Plan
        if model.buckets is None:
            self._plan = _plan(self._schedule, model, runners)
        else:
            plans = [_plan(self._schedule, model.at(bucket), runners) for bucket in model.buckets.each]
            self._plan = BucketPlan(model, model.buckets, plans)
        self._workers = Workers(workers)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        model: str | None = None,
        *,
        threads: int | None = None,
        beams: Beams | int | None = None,
        weights: Access | None = None,
        workers: int = 1,
        verify: bool = True,
    ) -> Session:
        """Open a model of the bundle at `path`; None takes the only model.

        `threads` overrides how many threads the engines use within an operator, and how many the environment gives the
        process in UNSPOOL_THREADS; `beams` overrides how many beams decoding follows (1 is greedy) or all that beam
        search depends on. `weights` is how engines take their weights, instead of the bundle's own default:
        `prepacked` into copies of their own, `mapped` as they lie in the bundle's files, `cached` as packed once for
        this host; what is mapped or cached all processes share. `workers` is how many requests `run_many` answers at
        once, and the batches of one request `run`; their engines then have an equal share of the process's threads,
        which are as many as it has processors, unless `threads` is given. `verify` False
        leaves out the digests of the files. Raises BundleError, MissingToolError, RunError (no such model, no beams,
        engines that cannot take their weights like this, a cache that cannot be used).
        """
        return cls.of(
            Bundle.open(path, verify=verify), model, threads=threads, beams=beams, weights=weights, workers=workers
        )

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        model: str | None = None,
        *,
        threads: int | None = None,
        beams: Beams | int | None = None,
        weights: Access | None = None,
        workers: int = 1,
    ) -> Session:
        """Open a model of an opened bundle. See `open`."""
        entry = _choose(bundle, model)
        threads = equal_share(workers) if threads is None else threads
        opened: dict[str, EngineRunner] = {}
        try:
            # Of all buckets: what cannot be opened, or has no room, is told now, and no request waits for an engine.
            called = (functions[f] for functions in entry.held for f in entry.schedule.functions)
            for name in dict.fromkeys(name for names in called for name in names):
                opened[name] = open_engine(bundle.root, bundle.manifest.engines[name], threads, weights)
            return cls(entry, opened, beams=beams, workers=workers)
        except BaseException:
            for runner in opened.values():
                runner.close()
            raise

    @property
    def signature(self) -> Signature:
        """What `run` takes and gives, by the source model's names; with buckets, any sizes that one of them holds.

        For a decoding schedule: the caller's inputs, and `tokens` and `lengths`; with beams `scores` as well.
        """
        return self._plan.signature

    def run(self, inputs: Mapping[str, npt.ArrayLike], *, batch: int | None = None) -> dict[str, Array]:
        """Answer one request; if it decodes, `batch` rows of it at a time, or all at once.

        Arrays of low-precision types travel as their carrier (bfloat16 as uint16). Raises RunError with every
        fault of the inputs at once, or if the engine fails.
        """
        return self.answer(inputs, batch=batch).outputs

    def answer(self, inputs: Mapping[str, npt.ArrayLike], *, batch: int | None = None) -> Answer:
        """Answer one request as `run` does, and tell which engines it took."""
        arrays = checked_inputs(self._plan.signature.inputs, inputs)
        if batch is None:
            return self._plan.run(arrays)
        (answer,) = self._in_batches(self._decoded_rows(), [arrays], batch)
        return answer

    def run_many(
        self,
        requests: Sequence[Mapping[str, npt.ArrayLike]],
        *,
        batch: int = 8,
        expected: Sequence[float] | None = None,
    ) -> list[dict[str, Array]]:
        """Answer many requests, each as if it were alone; if the model decodes, `batch` rows at a time.

        A model that is called once is called for each request. Those of a model that decodes are decoded together if
        their inputs differ in rows only, and never padded: what padding does to an answer is not known here. Within
        those the order is that of the requests, or of `expected`, one number for each: how long its answer is expected
        to be. Rows that end together waste least. Raises RunError as `run`.
        """
        specs = self._plan.signature.inputs
        if expected is not None and len(expected) != len(requests):
            raise RunError.of("session", "expected", f"has {len(expected)} numbers for {len(requests)} requests")
        given = [_checked(number, specs, request) for number, request in enumerate(requests)]
        if isinstance(self._schedule, Single):
            return [answer.outputs for answer in self._workers.map(self._plan.run, given)]
        rows = self._decoded_rows()
        orders = rows.alike(given)
        if expected is not None:
            lengths = [float(number) for number in expected]
            orders = [sorted(group, key=lengths.__getitem__) for group in orders]
        together = [rows.together([given[number] for number in order]) for order in orders]
        found: dict[int, dict[str, Array]] = {}
        for order, answer in zip(orders, self._in_batches(rows, together, batch), strict=True):
            ends = np.cumsum([rows.count(given[number]) for number in order]).tolist()
            for number, begin, end in zip(order, [0, *ends], ends, strict=False):
                found[number] = answer_rows(answer.outputs, begin, end)
        return [found[number] for number in range(len(given))]

    def _in_batches(self, rows: Rows, requests: Sequence[Mapping[str, Array]], batch: int) -> list[Answer]:
        """The answer to each request, from all of their batches side by side."""
        if batch < 1:
            raise RunError.of("session", "batch", f"is {batch}", "give 1 or more rows")
        cut = [list(rows.cut(arrays, min(batch, self._most_rows(arrays) or batch))) for arrays in requests]
        answers = iter(self._workers.map(self._plan.run, (part for parts in cut for part in parts)))
        return [rows.joined([next(answers) for _ in parts]) for parts in cut]

    def _most_rows(self, arrays: Mapping[str, Array]) -> int | None:
        """How many rows of a request go at once at most, if there is such a number."""
        return self._plan.most_rows(arrays) if isinstance(self._plan, BucketPlan) else None

    def _decoded_rows(self) -> Rows:
        """What tells the rows of a request. Raises RunError if nothing does."""
        if not isinstance(self._schedule, Decode):
            message = "is called once, and which of its sizes counts independent rows is not known"
            raise RunError.of("session", self._schedule.main, message, "call run with as many rows as you like")
        rows = Rows.of(self.signature, self._schedule.generation.pad)
        if rows is None:
            message = "takes a fixed number of rows, or none that its inputs tell"
            raise RunError.of("session", self._schedule.main, message, "compile a model whose batch is symbolic")
        return rows

    def close(self) -> None:
        """Wait for the workers and release the engines; the session cannot run any more."""
        self._workers.close()
        for runner in self._runners.values():
            runner.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _plan(schedule: Schedule, model: ModelEntry, runners: Mapping[str, EngineRunner]) -> Plan:
    """What answers requests by the model's functions."""
    first = {function: runners[names[0]] for function, names in model.functions.items()}
    if isinstance(schedule, Single):
        return SingleCall(schedule, first, model.signature)
    if isinstance(schedule.control, Engine | Unrolled):
        return EngineDecoder(schedule, first[schedule.step])
    if isinstance(schedule.control, Partitioned):
        encoder = None if schedule.encoder is None else first[schedule.encoder]
        partitions = [runners[name] for name in model.functions[schedule.step]]
        return PartitionDecoder(schedule, encoder, partitions, model.signature)
    return HostDecoder(schedule, first, model.signature)


class SingleCall:
    """Runs a `Single` schedule: one call of one function."""

    def __init__(self, schedule: Single, runners: Mapping[str, EngineRunner], source: Signature) -> None:
        """Raises BundleError if the engine wants an input that the source model does not have."""
        self._function = schedule.function
        self._runner = runners[schedule.function]
        self.signature = source
        # An engine leaves out inputs that nothing depends on; the caller may give them all the same.
        taken = {spec.name for spec in self._runner.signature.inputs}
        self._dropped = tuple(spec.name for spec in source.inputs if spec.name not in taken)
        BundleError.raise_if(
            Problem("session", name, "is an input of the engine and not of the source model")
            for name in sorted(taken - {spec.name for spec in source.inputs})
        )

    def run(self, arrays: dict[str, Array]) -> Answer:
        """Run on checked inputs."""
        for name in self._dropped:
            del arrays[name]
        return Answer(self._runner.call(arrays), {self._function: 1})


def _checked(number: int, specs: Sequence[TensorSpec], request: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    try:
        return checked_inputs(specs, request)
    except RunError as error:
        raise RunError(*(replace(p, subject=f"{p.subject} of request {number}") for p in error.problems)) from error


def _with_beams(schedule: Schedule, beams: Beams | int) -> Schedule:
    """The schedule with other beams. Raises RunError if it does not generate, or engines choose the tokens."""
    if not isinstance(schedule, Decode):
        message = "is called once and generates nothing"
        raise RunError.of("session", schedule.function, message, "leave the beams out")
    if beams != 1 and not isinstance(schedule.control, Host):
        message = f"chooses tokens inside its engine ({schedule.control.kind}), greedily"
        raise RunError.of("session", schedule.step, message, "compile with --schedule loop for beams")
    return schedule.model_copy(update={"generation": schedule.generation.with_beams(beams)})


def _choose(bundle: Bundle, model: str | None) -> ModelEntry:
    models = bundle.manifest.models
    if model is None and len(models) == 1:
        return next(iter(models.values()))
    if model is None or model not in models:
        message = "holds several models" if model is None else f"holds no model {model!r}"
        raise RunError.of("session", str(bundle.root), message, f"name one of: {', '.join(sorted(models))}")
    return models[model]
