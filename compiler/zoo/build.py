"""Build a zoo: plan, hand out what is due, write down what became of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from artifacts.errors import UsageError
from compiler.version import version
from compiler.zoo.file_index import FileIndex
from compiler.zoo.jobs import Job
from compiler.zoo.ledger import LEDGER, Attempt, Kept, Ledger, Result, State
from compiler.zoo.plan import Located, Plan, Planned, make_plan, marks_of
from compiler.zoo.read import Zoo
from compiler.zoo.spec import STORE
from compiler.zoo.work import Began, Broke, Ended, Ending, Event, Family, Pool, Queue, Staged, Work
from compiler.zoo.yaml_file import STAGE

LOGS = ".logs"
_LOCK = ".zoo.lock"


@dataclass(frozen=True)
class Summary:
    """How a build ended: `ended`, `failed`, `stopped`; the results of its jobs, in the zoo's order."""

    build: int
    status: str
    seconds: float
    results: tuple[Result, ...]
    plan: Plan

    @property
    def is_good(self) -> bool:
        """Whether every job that was selected has its bundle."""
        return all(result.is_good for result in self.results)


@dataclass(frozen=True)
class Place:
    """The folder of a zoo's bundles, with its ledger and store."""

    root: Path
    ledger: Ledger
    index: FileIndex
    store: str

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls, root: Path, store: str | None = None, *, create: bool = True, waits: bool = False
    ) -> Iterator[Place]:
        """Open a zoo's folder to build in; nobody else builds there meanwhile.

        Raises UsageError, also if somebody is at work there, unless it `waits` for the end of that.
        """
        root = root.absolute()
        try:
            root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            hint = "name a folder that can be written, with -o"
            raise UsageError.of(STAGE, str(root), f"cannot be used: {error.strerror}", hint) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            except BlockingIOError:
                hint = "wait until it has ended, or build into another folder"
                raise UsageError.of(STAGE, str(root), "another build is at work here", hint) from None
            with Ledger.open(root / LEDGER, create=create) as ledger:
                yield cls(root, ledger, FileIndex.of(ledger), store or str(root / STORE))
        finally:
            os.close(descriptor)


Watcher = Callable[[Event | Result], None]
"""Told of everything that happens, for people to see."""


def plan_of(zoo: Zoo, selected: Sequence[Job], place: Place, located: Located) -> Plan:
    """What a build would do now."""
    plan = make_plan(zoo, selected, place.root, place.ledger, place.index, located)
    place.index.save(place.ledger)
    return plan


def build(plan: Plan, place: Place, pool: Pool, *, keep_going: bool = True, watch: Watcher = lambda _: None) -> Summary:
    """Do what a plan says; unless it is to keep going, up to the first job that fails.

    Every job is on record as soon as it ended: a build that is killed goes on from there.
    """
    began = time.monotonic()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    number = place.ledger.begin(started, version(), pool.name, getattr(pool, "workers", 0))
    building = _Building(number, plan, place, pool, keep_going, watch)
    status = "failed"
    try:
        building.record_known()
        building.run()
        status = "ended" if all(result.is_good for result in building.results.values()) else "failed"
    except KeyboardInterrupt:
        status = "stopped"
    finally:
        for event in pool.stop():
            building.hear(event, may_retry=False)
        building.skip_rest()
        seconds = time.monotonic() - began
        place.ledger.end(number, status, seconds)
    results = tuple(building.results[planned.job.name] for planned in plan.jobs)
    return Summary(number, status, seconds, results, plan)


@dataclass(eq=False)
class _Building:
    number: int
    plan: Plan
    place: Place
    pool: Pool
    keep_going: bool
    watch: Watcher
    results: dict[str, Result] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    queue: Queue = field(default_factory=Queue)

    @property
    def planned(self) -> Mapping[str, Planned]:
        return {planned.job.name: planned for planned in self.plan.jobs}

    def record_known(self) -> None:
        """What is up to date, and what cannot be begun."""
        found: list[tuple[Result, Mapping[str, float], Kept | None]] = []
        for planned in self.plan.jobs:
            if not planned.is_due:
                assert planned.kept is not None
                result = self._result(planned, State.UP_TO_DATE, key=planned.kept.key)
                found.append((result, planned.metrics, None if planned.is_known else planned.kept))
            elif planned.problems:
                problems = tuple(asdict(problem) for problem in planned.problems)
                attempt = Attempt(str(planned.problems[0]).partition("\n")[0], 0.0)
                result = self._result(planned, State.FAILED, problems=problems, attempts=(attempt,))
                found.append((result, {}, None))
                self.watch(result)
        self.results |= {result.job: result for result, _, _ in found}
        self.place.ledger.record_all(self.number, found)

    def run(self) -> None:
        """Hand out what is due until nothing is left, or the build is over."""
        self.queue = Queue(list(self._families()))
        while self.queue or self.pool.busy:
            if self._gives_up():
                return
            for _ in self.queue.take(self.pool):
                pass
            for event in self.pool.events():
                self.hear(event)

    def _gives_up(self) -> bool:
        return not self.keep_going and any(result.state is State.FAILED for result in self.results.values())

    def _families(self) -> Iterator[Family]:
        """What is due, by the models that it reads."""
        grouped: dict[object, list[Planned]] = {}
        for planned in self.plan.due:
            if not planned.problems:
                grouped.setdefault(planned.job.family, []).append(planned)
        for members in grouped.values():
            works = tuple(self._work(planned) for planned in members)
            sizes = {path: path.stat().st_size for model in members[0].models for path in model.paths if path.exists()}
            estimates = [planned.seconds or 0.0 for planned in members]
            yield Family(works, members[0].job.needs, sum(estimates), sum(sizes.values()))

    def _work(self, planned: Planned) -> Work:
        job = planned.job
        return Work(
            job=job.name,
            models=planned.models,
            options=planned.options,
            destination=self.place.root / job.name,
            store=self.place.store,
            log=self.place.root / LOGS / f"{job.name}.log",
            limits=job.limits,
            seconds=job.flags.compiler_timeout,
        )

    def hear(self, event: Event, *, may_retry: bool = True) -> None:
        """What happened, and what follows from it."""
        match event:
            case Ended():
                self._end(event, may_retry)
            case Broke():
                self.queue.again(event.family)
            case Began():
                self.nodes[event.job] = event.where
            case Staged():
                pass
        self.watch(event)

    def _end(self, event: Ended, may_retry: bool) -> None:
        planned = self.planned[event.job]
        tried = self.attempts.setdefault(event.job, [])
        if not event.ending.is_good:
            tried.append(Attempt(event.reason, event.seconds))
        if may_retry and event.ending.may_pass and len(tried) <= planned.job.limits.retries:
            self.queue.again(Family((self._work(planned),), planned.job.needs))
            return
        self._record(planned, event)

    def _record(self, planned: Planned, event: Ended) -> None:
        states = {Ending.MADE: State.BUILT, Ending.CACHED: State.CACHED, Ending.STOPPED: State.SKIPPED}
        made, kept = event.made, None
        if made is not None:
            kept = Kept(made.key, made.ingredients, made.external, marks_of(self.place.root / event.job))
        result = self._result(
            planned,
            states.get(event.ending, State.FAILED),
            key=None if made is None else made.key,
            ingredients=None if made is None else made.ingredients,
            seconds=event.seconds,
            peak_bytes=event.peak_bytes,
            problems=event.problems,
            notices=() if made is None else made.notices,
        )
        self.results[event.job] = result
        self.place.ledger.record(self.number, result, {} if made is None else made.metrics, kept)
        self.watch(result)

    def skip_rest(self) -> None:
        """Jobs that were not begun."""
        rest = [planned for planned in self.plan.jobs if planned.job.name not in self.results]
        found = [self._result(planned, State.SKIPPED) for planned in rest]
        self.results |= {result.job: result for result in found}
        self.place.ledger.record_all(self.number, [(result, {}, None) for result in found])

    def _result(self, planned: Planned, state: State, **more: object) -> Result:
        job = planned.job
        fields: dict[str, object] = {
            "attempts": tuple(self.attempts.get(job.name, ())),
            "node": self.nodes.get(job.name, ""),
            **more,
        }
        return Result(
            job=job.name,
            entry=job.entry,
            target=job.target,
            precision=job.precision,
            batch=job.batch,
            labels=job.labels,
            state=state,
            why="; ".join(planned.why),
            **fields,  # type: ignore[arg-type]
        )
