"""Measure what a decode costs on a target: the same functions under many schedules, without a bundle for each.

Lengths are forced: an end token that no vocabulary has is never chosen, so a decode of at most n tokens has n.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from artifacts.canonical import sha256_bytes
from artifacts.engines import EngineRunner, open_engine
from artifacts.errors import TargetError
from artifacts.manifest import EngineEntry, ModelEntry
from artifacts.runtime import Session
from artifacts.samples import Arrays
from artifacts.schedule import Control, Decode, Engine, Host, Partitioned, Unrolled
from artifacts.shards import write_shards
from compiler.options import ScheduleName
from compiler.targets import Target
from compiler.targets.target import BuiltEngine, Placement, Translations
from compiler.tuning.choose import Form
from compiler.tuning.costs import Costs, StepCost
from passes.program import Program

NEVER = 1 << 30
"""An end token beyond every vocabulary."""

MOST_UNROLLED = 64
"""Positions that are unrolled for a measurement; the costs of later ones follow from how these grow."""

CONTROLS: Mapping[ScheduleName, Control] = {
    ScheduleName.LOOP: Host(),
    ScheduleName.ENGINE_LOOP: Engine(),
    ScheduleName.UNROLLED: Unrolled(),
}


@dataclass(frozen=True, eq=False)
class Variants:
    """One model's functions on disk, from which sessions under any schedule are opened."""

    program: Program
    model: str
    target: Target
    placement: Placement
    threads: int
    stack: ExitStack
    runners: dict[str, EngineRunner] = field(default_factory=dict)

    @property
    def schedule(self) -> Decode:
        """The schedule that the program has."""
        schedule = self.program.models[self.model].schedule
        assert isinstance(schedule, Decode)
        return schedule

    def session(self, form: Form, length: int) -> Session:
        """A session that decodes this many tokens in this form, whatever it is given. Closed with the variants.

        Partitions run to the boundary behind that length.
        """
        control = CONTROLS.get(form.schedule) or Partitioned(boundaries=form.boundaries)
        limit = form.boundaries[-1] if form.boundaries else length
        before = self.schedule
        generation = before.generation.model_copy(
            update={"eos": (NEVER,), "max_new_tokens": limit, "forced_last": None, "beams": None}
        )
        fields = {
            "control": control.model_dump(),
            "generation": generation.model_dump(),
            "choice": None if isinstance(control, Host) else before.choice,
        }
        schedule = Decode.model_validate(before.model_dump() | fields)
        models = {self.model: replace(self.program.models[self.model], schedule=schedule)}
        built = self.target.build(replace(self.program, models=models), self.model, self.placement)
        # Of partitions only those that a sequence of this length needs are opened, and run.
        calls = 1 + sum(boundary < length for boundary in form.boundaries[:-1])
        functions = {function: names[:calls] for function, names in built.functions.items()}
        if form.boundaries:
            cut = form.boundaries[:calls]
            rules = generation.model_copy(update={"max_new_tokens": cut[-1]})
            schedule = schedule.model_copy(update={"control": Partitioned(boundaries=cut), "generation": rules})
        wanted = dict.fromkeys(name for names in functions.values() for name in names)
        runners = {name: self._runner(built.engines[name]) for name in wanted}
        signature = self.program.models[self.model].signature
        entry = ModelEntry(source="0" * 64, signature=signature, schedule=schedule, functions=functions)
        return Session(entry, runners)

    def _runner(self, engine: BuiltEngine) -> EngineRunner:
        """An open engine; one that was opened before for another length is used again."""
        digest = sha256_bytes(engine.source)
        if digest not in self.runners:
            source = f"{digest}{engine.suffix}"
            (self.placement.root / source).write_bytes(engine.source)
            entry = EngineEntry(
                kind=self.target.kind,
                target=self.target.name,
                signature=engine.signature,
                source=source,
                status="emitted",
                session=dict(engine.session),
                bindings=dict(engine.bindings),
                weights=engine.made.weights,
            )
            self.runners[digest] = open_engine(self.placement.root, entry, self.threads)
            self.stack.callback(self.runners[digest].close)
        return self.runners[digest]


@contextmanager
def variants(
    program: Program, model: str, target: Target, translations: Translations, threads: int
) -> Iterator[Variants]:
    """The functions of a model in a folder of their own, which goes with the sessions."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unspool-tune-")))
        refs = tuple(dict.fromkeys(ref for f in program.functions.values() for ref in f.weights.values()))
        shards = write_shards(program.weights, target.stored(refs), root)
        placement = Placement(root, program.weights, shards, translations)
        yield Variants(program, model, target, placement, threads, stack)


def times(sessions: Sequence[Session], request: Arrays, seconds: float = 2.0, fewest: int = 5) -> list[float]:
    """Median milliseconds of each session, called in turn so that all see the same machine."""
    found: list[list[float]] = [[] for _ in sessions]
    for session in sessions:
        session.run({spec.name: request[spec.name] for spec in session.signature.inputs})
    begin = time.perf_counter()
    while len(found[0]) < fewest or time.perf_counter() - begin < seconds:
        for session, measured in zip(sessions, found, strict=True):
            given = {spec.name: request[spec.name] for spec in session.signature.inputs}
            started = time.perf_counter()
            session.run(given)
            measured.append((time.perf_counter() - started) * 1000)
    return [median(measured) for measured in found]


def measured_costs(found: Variants, request: Arrays, limit: int, able: Iterable[ScheduleName]) -> Costs:
    """The costs of each schedule that the target is able to do, in milliseconds, from decodes of several lengths."""
    lengths = sorted({max(1, min(limit, MOST_UNROLLED) * part // 4) for part in (1, 2, 4)})
    able = set(able)
    points: list[tuple[ScheduleName, int, int, Session]] = [
        (schedule, 1, length, found.session(Form(schedule), length))
        for schedule in (ScheduleName.LOOP, ScheduleName.ENGINE_LOOP)
        if schedule in able
        for length in lengths
    ]
    if ScheduleName.PARTITIONED in able:
        most = lengths[-1]
        for boundaries in dict.fromkeys((*((length,) for length in lengths), tuple(lengths))):
            form = Form(ScheduleName.PARTITIONED, boundaries)
            points.append((ScheduleName.PARTITIONED, len(boundaries), boundaries[-1], found.session(form, most)))
    if not points:
        raise TargetError.of("tune", found.target.name, "does none of the schedules that can be measured")
    taken = times([session for *_, session in points], request)
    of = {
        name: [(calls, n, ms) for (schedule, calls, n, _), ms in zip(points, taken, strict=True) if schedule == name]
        for name in dict.fromkeys(schedule for schedule, *_ in points)
    }
    loop = of.get(ScheduleName.LOOP, [])
    encoder = _fitted([(1, n, n * (n - 1) / 2) for _, n, _ in loop], [ms for *_, ms in loop])[0] if loop else 0.0
    return Costs(
        encoder=encoder,
        loop=step_cost(loop, encoder, False),
        engine_loop=step_cost(of.get(ScheduleName.ENGINE_LOOP, []), encoder, True),
        partition=step_cost(of.get(ScheduleName.PARTITIONED, []), encoder, True),
    )


def step_cost(points: Sequence[tuple[int, int, float]], encoder: float, calls_cost: bool) -> StepCost | None:
    """Costs of calls, steps and growth that explain the times; the host's calls are a part of its steps."""
    if not points:
        return None
    terms = [(calls if calls_cost else 0, n, n * (n - 1) / 2) for calls, n, _ in points]
    call, step, growth = _fitted(terms, [ms - encoder for *_, ms in points])
    return StepCost(call=call, step=step, growth=growth)


def _fitted(terms: Sequence[tuple[float, float, float]], values: Sequence[float]) -> list[float]:
    """Least squares with factors of 0 or more: one that would be less is left out, the most negative first."""
    matrix, wanted = np.array(terms, np.float64), np.array(values, np.float64)
    kept = [column for column in range(matrix.shape[1]) if matrix[:, column].any()]
    found: npt.NDArray[np.float64] = np.zeros(matrix.shape[1])
    while kept:
        factors = np.linalg.lstsq(matrix[:, kept], wanted, rcond=None)[0]
        if (factors >= 0).all():
            found[kept] = factors
            break
        del kept[int(factors.argmin())]
    return [float(factor) for factor in found]
