"""What changed between two builds, and why a job was built: questions to the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from artifacts.errors import UsageError
from compiler.zoo.ledger import Build, Ledger, Result, State
from compiler.zoo.reasons import changes
from compiler.zoo.spec import Thresholds
from compiler.zoo.yaml_file import STAGE

LEAST_SECONDS = 1.0
"""A build that took less than this longer is no slower: a machine's other work makes that much."""

LEAST_NUMERICS = 1e-6
"""Differences from the source below this are rounding, however many times another they are."""


@dataclass(frozen=True)
class Figure:
    """One figure of a job in two builds; None where it has none. `is_worse` if it grew beyond its threshold."""

    job: str
    name: str
    before: float | None
    after: float | None
    is_worse: bool


@dataclass(frozen=True)
class Difference:
    """What is another in a build than in an earlier one: jobs that came and went, states, figures."""

    before: Build
    after: Build
    came: tuple[str, ...]
    went: tuple[str, ...]
    failed: tuple[str, ...]
    figures: tuple[Figure, ...]

    @property
    def regressions(self) -> tuple[Figure, ...]:
        """Figures that are worse."""
        return tuple(figure for figure in self.figures if figure.is_worse)


def find_build(ledger: Ledger, number: int | None, back: int = 0) -> Build:
    """The build of that number, or the last but `back`. Raises UsageError if there is none."""
    builds = ledger.builds()
    found = [build for build in builds if number is None or build.id == number]
    index = back if number is None else 0
    if index >= len(found):
        known = f"the last is {builds[0].id}" if builds else "there is none yet"
        what = f"build {number}" if number is not None else "earlier build" if back else "build"
        raise UsageError.of(STAGE, str(ledger.path), f"has no {what}: {known}", "`unspool zoo ls --builds` lists them")
    return found[index]


def difference(ledger: Ledger, before: Build, after: Build, thresholds: Thresholds) -> Difference:
    """Compare two builds. A job that was up to date has the figures of when it was made."""
    old, new = (_results(ledger, build) for build in (before, after))
    old_figures, new_figures = ledger.figures([*old], before.id), ledger.figures([*new], after.id)
    figures = [
        figure
        for job in sorted(new)
        if new[job].state is not State.FAILED and job in old_figures
        for figure in _compared(job, old_figures[job], new_figures.get(job, {}), thresholds)
    ]
    failed = [job for job, result in new.items() if result.state is State.FAILED]
    was_good = [job for job in failed if job not in old or old[job].state is not State.FAILED]
    return Difference(
        before,
        after,
        came=tuple(sorted(new.keys() - old.keys())),
        went=tuple(sorted(old.keys() - new.keys())),
        failed=tuple(sorted(was_good)),
        figures=tuple(figures),
    )


def why(ledger: Ledger, job: str) -> Iterator[tuple[int, Result, tuple[str, ...]]]:
    """The results of a job, the newest first, each with what had changed since it was made before.

    Raises UsageError if no build knows the job.
    """
    found = ledger.history(job)
    if not found:
        known = sorted({result.job for build in ledger.builds()[:1] for result in ledger.results(build.id)})
        hint = f"the last build has {', '.join(known[:5])}" if known else "build first"
        raise UsageError.of(STAGE, job, "is a job of no build here", hint)
    for number, (build, result) in enumerate(found):
        earlier = next((each.ingredients for _, each in found[number + 1 :] if each.ingredients), None)
        changed = changes(earlier, result.ingredients) if earlier and result.ingredients else ()
        yield build, result, changed


def _results(ledger: Ledger, build: Build) -> dict[str, Result]:
    return {result.job: result for result in ledger.results(build.id)}


def _compared(
    job: str, before: Mapping[str, float], after: Mapping[str, float], thresholds: Thresholds
) -> Iterator[Figure]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            yield Figure(job, name, old, new, _is_worse(name, old, new, thresholds))


def _is_worse(name: str, old: float | None, new: float | None, thresholds: Thresholds) -> bool:
    if old is None or new is None:
        return False
    kind = name.partition(".")[0]
    if kind == "numerics":
        return new > LEAST_NUMERICS and new > old * thresholds.numerics
    if name == "seconds":
        return new - old > LEAST_SECONDS and new > old * (1 + thresholds.seconds)
    if kind == "seconds" or name.startswith("operators."):
        return False  # their sum is what counts
    share: float = getattr(thresholds, kind)
    return new > old * (1 + share)
