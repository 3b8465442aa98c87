"""Run passes in order, and hold the program to its source after each one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from artifacts.checks import OutputCheck, Tolerances, require_equal
from artifacts.errors import PassError, Problem, UnspoolError
from artifacts.schedule import Schedule
from passes.contract import Pass
from passes.memo import FORGETFUL, Memo
from passes.program import Program
from passes.verification import check_program, first_moved_node

STAGE = "passes"

_BUGS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)
"""What a mistake in a pass looks like, in its rewrite or when its result is run."""


@dataclass(frozen=True)
class PassRun:
    """What one pass did: whether it changed anything, how far the outputs are from the source's, and what it told.

    `notes` are for the log of the build, `notices` for the user. `made` and `dropped` are the digests of the contents
    that functions use after it and did not before, and the reverse.
    """

    step: Pass
    modified: bool
    notes: tuple[str, ...]
    checks: tuple[OutputCheck, ...]
    notices: tuple[str, ...] = ()
    made: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()


def run_passes(
    program: Program,
    steps: Sequence[Pass],
    tolerances: Tolerances,
    verify: bool = True,
    on_start: Callable[[Pass], None] = lambda _: None,
    memo: Memo = FORGETFUL,
) -> tuple[Program, tuple[PassRun, ...]]:
    """Apply passes in order.

    With `verify`, a pass that changed something is followed by a comparison with the source models; tokens are
    decoded after the last pass and after those that changed a schedule, since decoding is slow to interpret. Raises
    NumericsError naming the pass and the first node that moved. A pass that computes in fewer bits loosens what the
    result and those after it are held to. Any other error of a pass is raised again, as
    itself if it is of Unspool's tree and as PassError if not, naming the pass and those that ran before it. What a
    `memo` knows of the same program is not done again.
    """
    runs: list[PassRun] = []
    for step in steps:
        on_start(step)
        try:
            result = memo.once((step, program), functools.partial(step, program))
            tolerances = step.loosened(tolerances) if result.modified else tolerances
            decodes = step is steps[-1] or _schedules(result.program) != _schedules(program)
            checks = (
                memo.once(
                    (result.program, tolerances, decodes),
                    functools.partial(check_program, result.program, tolerances, decodes),
                )
                if verify and result.modified
                else ()
            )
        except UnspoolError as error:
            raise type(error)(*(_placed(problem, step, runs) for problem in error.problems)) from error
        except _BUGS as error:
            message = f"{type(error).__name__}: {error}"
            raise PassError(_placed(Problem(STAGE, "", message, "this is a bug in the pass"), step, runs)) from error
        moved = next((check for check in checks if not check.passed), None)
        if moved is not None:
            sample = program.models[moved.model].samples[moved.sample]
            where = first_moved_node(program, result.program, moved.model, sample, tolerances)
            require_equal(checks, STAGE, f"pass {step.name!r}", where)
        before, after = program.digests, result.program.digests
        made, dropped = after - before, before - after
        runs.append(PassRun(step, result.modified, result.notes, checks, result.notices, made, dropped))
        # What did not change stays the object that it was: what was made of it before is still made of it.
        is_same = not result.modified and result.program.weights is program.weights
        program = program if is_same else result.program
    return program, tuple(runs)


def _schedules(program: Program) -> list[Schedule]:
    return [model.schedule for model in program.models.values()]


def _placed(problem: Problem, step: Pass, runs: Sequence[PassRun]) -> Problem:
    """The problem with the pass in its subject, and the passes that ran before it in its message."""
    before = ", ".join(run.step.name for run in runs) or "none"
    return replace(
        problem,
        subject=f"pass {step.name!r}" + (f": {problem.subject}" if problem.subject else ""),
        message=f"{problem.message} (passes that ran before: {before})",
    )
