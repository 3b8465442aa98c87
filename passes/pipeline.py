"""Run passes in order, and hold the program to its source after each one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from artifacts.checks import OutputCheck, Tolerances, require_equal
from artifacts.errors import PassError, Problem, UnspoolError
from passes.contract import Pass
from passes.program import Program
from passes.verification import check_program, first_moved_node

STAGE = "passes"


@dataclass(frozen=True)
class PassRun:
    """What one pass did: whether it changed anything, its notes, and how far the outputs are from the source's."""

    step: Pass
    modified: bool
    notes: tuple[str, ...]
    checks: tuple[OutputCheck, ...]


def run_passes(
    program: Program,
    steps: Sequence[Pass],
    tolerances: Tolerances,
    verify: bool = True,
    on_start: Callable[[Pass], None] = lambda _: None,
) -> tuple[Program, tuple[PassRun, ...]]:
    """Apply passes in order.

    With `verify`, a pass that changed something is followed by a comparison with the source models. Raises
    NumericsError naming the pass and the first node that moved, or PassError naming the passes that ran before
    the one that failed.
    """
    runs: list[PassRun] = []
    for step in steps:
        on_start(step)
        try:
            result = step(program)
        except UnspoolError:
            raise
        except (RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
            raise _failure(step, runs, error) from error
        checks = check_program(result.program, tolerances) if verify and result.modified else ()
        moved = next((check for check in checks if not check.comparison.passed), None)
        if moved is not None:
            sample = program.models[moved.model].samples[moved.sample]
            where = first_moved_node(program, result.program, moved.model, sample, tolerances)
            require_equal(checks, STAGE, f"pass {step.name!r}", where)
        runs.append(PassRun(step, result.modified, result.notes, checks))
        program = result.program
    return program, tuple(runs)


def _failure(step: Pass, runs: Sequence[PassRun], error: Exception) -> PassError:
    before = ", ".join(run.step.name for run in runs) or "none"
    return PassError(
        Problem(
            STAGE,
            f"pass {step.name!r}",
            f"{type(error).__name__}: {error}",
            f"passes that ran before: {before}",
        )
    )
