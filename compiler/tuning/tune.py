"""Tune: from lengths and costs, measured or given, to the schedule and boundaries that serve them best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from artifacts.errors import UsageError
from artifacts.samples import Arrays
from artifacts.schedule import Decode
from compiler.build_log import BuildLog
from compiler.options import CompileOptions, ModelFile, ScheduleName
from compiler.tuning.choose import Choice, Form, Objective, choices, curves
from compiler.tuning.costs import Costs
from compiler.tuning.lengths import Lengths

if TYPE_CHECKING:
    from compiler.tuning.measure import Variants
    from passes.program import Model

STRATA = 5
"""Lengths that stand for all when a form is measured."""

STAGE = "tune"


@dataclass(frozen=True)
class TuneOptions:
    """What to tune for: `batch` rows are decoded together, by engines of `threads` threads."""

    lengths: Lengths
    objective: Objective = Objective.MEAN
    costs: Costs | None = None
    most_partitions: int = 8
    batch: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Row:
    """A form with what it was predicted to cost, and the mean that it was measured to take, if it was."""

    choice: Choice
    measured: float | None = None


@dataclass(frozen=True)
class Tuned:
    """The forms, the best first by prediction; `curves` are of at most two and three partitions, as in `choose`."""

    lengths: Lengths
    limit: int
    costs: Costs
    rows: tuple[Row, ...]
    curves: tuple[tuple[Choice, ...], ...]

    @property
    def best(self) -> Form:
        """The form to compile."""
        return self.rows[0].choice.form


def tune(file: ModelFile, options: CompileOptions, asked: TuneOptions, log: BuildLog) -> Tuned:
    """Choose for one model. Without costs they are measured here, on the model, and so are the forms to choose from.

    Raises UnspoolError; UsageError if the model does not decode.
    """
    lengths = asked.lengths.of_batches(asked.batch)
    if asked.costs is not None:
        limit = options.tokens.max_new_tokens or lengths.longest
        return _tuned(asked.costs, lengths.limited(limit), limit, asked)
    from compiler import frontend
    from compiler.converters import find_converter
    from compiler.parts.opening import loaded_sources
    from compiler.parts.reading import read_model
    from compiler.targets import find_target
    from compiler.tuning import measure

    target, converter = find_target(options.target), find_converter(options)
    able = {control for state, control in target.decodes if state == "cached"}
    compiled = replace(options, schedule=_first(able), partitions=())
    with loaded_sources({file.name: read_model(file)}) as sources:
        program = frontend.make_program([file], sources, compiled, target, converter, log)
        schedule = program.models[file.name].schedule
        if not isinstance(schedule, Decode):
            hint = "tuning is for models that generate tokens: give --bos and --eos"
            raise UsageError.of(STAGE, file.name, "is called once, so there is nothing to choose", hint)
        limit = schedule.generation.max_new_tokens
        lengths = lengths.limited(limit)
        request = _rows(program.models[file.name], schedule.tokens, asked.batch)
        with measure.variants(program, file.name, target, converter.translations(), asked.threads) as found:
            with log.stage(STAGE, "costs of calls and steps"):
                costs = measure.measured_costs(found, request, limit, able)
            tuned = _tuned(costs, lengths, limit, asked)
            with log.stage(STAGE, "the forms to choose from"):
                measured = _measured(found, tuned, request)
        return replace(
            tuned, rows=tuple(replace(row, measured=ms) for row, ms in zip(tuned.rows, measured, strict=True))
        )


def _first(able: set[ScheduleName]) -> ScheduleName:
    order = (ScheduleName.ENGINE_LOOP, ScheduleName.PARTITIONED, ScheduleName.UNROLLED, ScheduleName.LOOP)
    return next(name for name in order if name in able)


def _tuned(costs: Costs, lengths: Lengths, limit: int, asked: TuneOptions) -> Tuned:
    found = choices(costs, lengths, limit, asked.objective, asked.most_partitions)
    if not found:
        raise UsageError.of(STAGE, "costs", "tell of no schedule", "give one of loop, engine_loop, partition")
    return Tuned(lengths, limit, costs, tuple(map(Row, found)), curves(costs, lengths, limit, asked.objective))


def _rows(model: Model, tokens: str, batch: int) -> Arrays:
    """A request of so many rows, of which each is one of the first sample's."""
    inputs, rows = model.samples[0].inputs, model.signature.input(tokens).shape[0]
    return {
        spec.name: np.resize(inputs[spec.name], (batch, *inputs[spec.name].shape[1:]))
        if spec.rank and spec.shape[0] == rows
        else inputs[spec.name]
        for spec in model.signature.inputs
        if spec.name != tokens
    }


def _measured(found: Variants, tuned: Tuned, request: Arrays) -> Sequence[float]:
    """The mean milliseconds of each form over lengths that stand for all."""
    from compiler.tuning.measure import times

    strata = tuned.lengths.strata(STRATA)
    forms = [row.choice.form for row in tuned.rows]
    sessions = [
        found.session(form, tuned.limit if form.schedule == ScheduleName.UNROLLED else length)
        for form in forms
        for length, _ in strata
    ]
    taken = iter(times(sessions, request))
    return [sum(part * next(taken) for _, part in strata) for _ in forms]
