"""How many tokens a decoder's own graph has room for: a table of positions or a mask ends somewhere."""

from __future__ import annotations

from dataclasses import replace

import sympy

from artifacts.errors import UsageError
from artifacts.schedule import Decode, Partitioned
from passes.program import Function, Program


def token_limit(function: Function) -> int | None:
    """The most tokens, start token included, that the function can be given; None if its graph does not say.

    torch.export finds it where a table is cut to the number of tokens, and keeps it with the size's symbol.
    """
    constraints = function.body.range_constraints
    bounds = [
        bound.upper for symbol, bound in constraints.items() if function.symbols.get(str(symbol)) in function.time
    ]
    return min((int(bound) for bound in bounds if isinstance(bound, sympy.Integer)), default=None)


def within_limit(program: Program, name: str, asked: bool) -> tuple[Program, tuple[str, ...]]:
    """The program with a model that generates no more tokens than its graph has room for, and a notice if that is less.

    Raises UsageError if so many were `asked` for.
    """
    model = program.models[name]
    schedule = model.schedule
    if not isinstance(schedule, Decode):
        return program, ()
    limit, longest = token_limit(program.functions[schedule.step]), schedule.generation.max_new_tokens
    if limit is None or longest <= limit:
        return program, ()
    if asked:
        message = f"asks for {longest} tokens, and the graph has room for {limit}"
        raise UsageError.of("options", f"{name}: --max-length", message, f"give {limit} or less")
    control = schedule.control
    if isinstance(control, Partitioned):
        control = Partitioned(boundaries=(*(b for b in control.boundaries if b < limit), limit))
    generation = schedule.generation.model_copy(update={"max_new_tokens": limit})
    schedule = schedule.model_copy(update={"generation": generation, "control": control})
    models = {**program.models, name: replace(model, schedule=schedule)}
    return replace(program, models=models), (f"generates at most {limit} tokens: its graph has room for no more",)
