"""What a decode costs from the first token to the last, in the form that it has and in those that it could have."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence

import sympy

from artifacts.errors import PassError
from artifacts.report import DecodeCost, Work
from artifacts.samples import Arrays
from artifacts.schedule import CacheSlot, Decode
from passes.cost import bound_sizes, function_cost
from passes.interpreter import call
from passes.program import Model, Program

Shapes = Mapping[str, tuple[int, ...]]


def decode_costs(*programs: Program) -> tuple[DecodeCost, ...]:
    """The costs of each model that decodes, in every form that its programs have or could have.

    The programs are one on its way through the passes: before the encoder is taken out, before a cache is found, at
    the end. Where a step computes all tokens again, it is counted padded and at exact length. Sizes are those of the
    first sample, of which one row is taken.
    """
    found: dict[tuple[str, str, bool], DecodeCost] = {}
    for program in programs:
        for name, model in program.models.items():
            schedule = model.schedule
            if not isinstance(schedule, Decode):
                continue
            request = _one_row(model, schedule.tokens)
            for form in _forms(schedule):
                # What a loop costs is not known if only the data tells how often it runs: then there are no figures.
                with contextlib.suppress(PassError):
                    found[name, form.state, form.encoder is None] = decode_cost(program, name, form, request)
    return tuple(found.values())


def decode_cost(program: Program, model: str, schedule: Decode, request: Arrays) -> DecodeCost:
    """The cost of `max_new_tokens` tokens for one request: no row ends early, and no choice takes the full product."""
    known = {name: array.shape for name, array in request.items()}
    encoder, callers = Work(), dict[sympy.Symbol, int]()
    if schedule.encoder is not None:
        function = program.functions[schedule.encoder]
        # What the encoder gives may have sizes that only its own inputs tell: a quarter of an image's width.
        callers = bound_sizes(function, known)
        encoder = function_cost(function).at(callers).work()
        known |= {name: array.shape for name, array in call(program, schedule.encoder, request).items()}
    # Where a function chooses the tokens, engines do not compute the scores.
    unused = None if schedule.choice is None else schedule.logits
    costs = {name: function_cost(program.functions[name], unused) for name in schedule.steps}
    choice = _choice_work(program, schedule, known[schedule.tokens][0])
    worked: dict[tuple[str, frozenset[tuple[sympy.Symbol, int]]], Work] = {}  # padded steps are all alike
    steps = Work()
    for position in range(schedule.generation.max_new_tokens):
        name = schedule.first if position == 0 and schedule.first is not None else schedule.step
        shapes = _step_shapes(program, schedule, name, known, position)
        sizes = callers | bound_sizes(program.functions[name], shapes)
        key = (name, frozenset(sizes.items()))
        if key not in worked:
            worked[key] = costs[name].at(sizes).work()
        steps += worked[key] + choice
        steps += Work(cache_bytes=_cache_bytes(program, schedule, name, shapes))
    return DecodeCost(
        model=model,
        state=schedule.state,
        tokens=schedule.generation.max_new_tokens,
        inputs={name: array.shape for name, array in request.items() if name != schedule.tokens},
        encoder=encoder,
        steps=steps,
    )


def _choice_work(program: Program, schedule: Decode, rows: int) -> Work:
    """What it takes to choose a token of each row by the schedule's function, if its bound proves every choice."""
    if schedule.choice is None:
        return Work()
    function = program.functions[schedule.choice]
    shapes = {
        spec.name: tuple(rows if isinstance(size, str) else size for size in spec.shape)
        for spec in function.signature.inputs
    }
    return function_cost(function).at(bound_sizes(function, shapes)).work()


def _forms(schedule: Decode) -> Sequence[Decode]:
    """The schedule, and where it computes all tokens again, the same at the longest and at the exact length."""
    if schedule.state == "cached":
        return [schedule]
    return [schedule.model_copy(update={"state": state}) for state in ("padded", "recompute")]


def _one_row(model: Model, tokens: str) -> Arrays:
    """The first row of the first sample, of every input that has a row for each row of tokens."""
    inputs, batch = model.samples[0].inputs, model.signature.input(tokens).shape[0]
    return {
        spec.name: inputs[spec.name][:1] if spec.rank > 0 and spec.shape[0] == batch else inputs[spec.name]
        for spec in model.signature.inputs
    }


def _step_shapes(program: Program, schedule: Decode, name: str, known: Shapes, position: int) -> Shapes:
    """Shapes of the step's inputs at a position, counted from 0."""
    signature = program.functions[name].signature
    tokens = signature.input(schedule.tokens).shape
    rows = known[schedule.tokens][0]
    lengths = {"cached": 1, "recompute": position + 1, "padded": schedule.generation.max_new_tokens}
    length = lengths[schedule.state] if isinstance(tokens[1], str) or schedule.state == "cached" else tokens[1]
    shapes = {**known, schedule.tokens: (rows, int(length))}
    if schedule.position is not None:
        shapes[schedule.position] = ()
    sizes = {
        symbol: size
        for spec in signature.inputs
        if spec.name in shapes
        for symbol, size in zip(spec.shape, shapes[spec.name], strict=True)
    }
    names = {spec.name for spec in signature.inputs}
    for slot in schedule.slots:
        if slot.input in names:
            declared = [sizes.get(size, size) for size in signature.input(slot.input).shape]
            shapes[slot.input] = _slot_shape(slot, declared, known, rows, position)
    return {spec.name: shapes[spec.name] for spec in signature.inputs}


def _slot_shape(
    slot: CacheSlot, declared: Sequence[int | str], known: Shapes, rows: int, position: int
) -> tuple[int, ...]:
    kind, _, source = slot.init.partition(":")
    shape: list[int | str] = list(known[source]) if kind == "encoder" else list(declared)
    shape[slot.batch_axis] = rows
    if slot.axis is not None and isinstance(declared[slot.axis], str):  # a fixed size is a buffer of the full length
        before = shape[slot.axis] if kind == "encoder" else 0
        shape[slot.axis] = int(before) + position
    return tuple(int(size) for size in shape)


def _cache_bytes(program: Program, schedule: Decode, name: str, shapes: Shapes) -> int:
    """Slots are read whole; one row is written where they grow, all of it where they do not."""
    signature = program.functions[name].signature
    total = 0
    for slot in schedule.slots:
        output = signature.output(slot.output)
        width = output.dtype.numpy.itemsize
        shape = shapes.get(slot.input)
        total += width * (0 if shape is None else math.prod(shape))
        row = list(shape or [1 if isinstance(size, str) else size for size in output.shape])
        if slot.axis is not None:
            row[slot.axis] = 1
        total += width * math.prod(row)
    return total
