"""What a build would do, and why: each job against what is in its place."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from artifacts.errors import Problem, UnspoolError
from compiler.compile import Circumstances
from compiler.options import CompileOptions, ModelFile
from compiler.parts.digests import listed_digest, listed_files
from compiler.present import Unchanged, find_unchanged
from compiler.zoo.file_index import FileIndex, mark_of
from compiler.zoo.jobs import Job
from compiler.zoo.ledger import Kept, Ledger, State
from compiler.zoo.making import made_of_unchanged
from compiler.zoo.read import Zoo
from compiler.zoo.reasons import changes
from compiler.zoo.yaml_file import STAGE

NEW = "there is no bundle yet"


@dataclass(frozen=True)
class Planned:
    """One job and what is to be done for it.

    `why` is empty if its bundle is what it would make; `kept` is what the ledger is to know of that one, and `metrics`
    are figures that it does not know yet. `problems`
    keep it from being begun. `seconds` is how long it took when it was made last, or what others of its target took.
    """

    job: Job
    models: tuple[ModelFile, ...]
    options: CompileOptions
    why: tuple[str, ...]
    kept: Kept | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    is_known: bool = False
    problems: tuple[Problem, ...] = ()
    seconds: float | None = None
    last: str = ""

    @property
    def is_due(self) -> bool:
        """Whether it is to be made."""
        return bool(self.why)


@dataclass(frozen=True)
class Plan:
    """Every job of a zoo; `strays` are bundles of earlier builds that no job makes any more."""

    jobs: tuple[Planned, ...]
    strays: tuple[str, ...] = ()

    @property
    def due(self) -> tuple[Planned, ...]:
        """The jobs that are to be made."""
        return tuple(planned for planned in self.jobs if planned.is_due)


Located = Callable[[Job], tuple[ModelFile, ...]]
"""Where the models of a job are on this machine; what is at a URL has been fetched. Raises UnspoolError."""


def make_plan(
    zoo: Zoo, selected: Sequence[Job], root: Path, ledger: Ledger, index: FileIndex, located: Located
) -> Plan:
    """Look at every selected job. Nothing is written, but to the index."""
    kept, times, failures = ledger.kept(), ledger.times(), _failures(ledger)
    planning = _Planning(root, kept, index, located)
    found = [planning.of(job) for job in selected]
    by_target: dict[str, list[float]] = {}
    for job in zoo.jobs:
        if job.name in times:
            by_target.setdefault(job.target, []).append(times[job.name])
    usual = {target: statistics.median(seconds) for target, seconds in by_target.items()}
    planned = [
        replace(
            each,
            seconds=times.get(each.job.name, usual.get(each.job.target)),
            last=failures.get(each.job.name, ""),
        )
        for each in found
    ]
    strays = sorted(kept.keys() - {job.name for job in zoo.jobs})
    return Plan(tuple(planned), tuple(strays))


def _failures(ledger: Ledger) -> dict[str, str]:
    """How the last try at each job ended that failed, if none went well since."""
    found: dict[str, str] = {}
    for build in reversed(ledger.builds()):
        for result in ledger.results(build.id):
            if result.state is State.FAILED:
                reason = result.attempts[-1].reason if result.attempts else "no reason is on record"
                found[result.job] = f"build {build.id}: {reason}"
            elif result.state in {State.BUILT, State.CACHED}:
                found.pop(result.job, None)
    return found


@dataclass(frozen=True, eq=False)
class _Planning:
    root: Path
    kept: Mapping[str, Kept]
    index: FileIndex
    located: Located

    def of(self, job: Job) -> Planned:
        options = job.flags.options()
        try:
            models = self.located(job)
            about = Circumstances.of(models, options, self.index.digest)
            return self._against(job, models, options, about)
        except UnspoolError as error:
            return Planned(job, (), options, ("its models cannot be read",), problems=error.problems)
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
            problem = Problem(STAGE, str(error.filename or job.place), message, "is it there, and readable?")
            return Planned(job, (), options, ("its models cannot be read",), problems=(problem,))

    def _against(
        self, job: Job, models: tuple[ModelFile, ...], options: CompileOptions, about: Circumstances
    ) -> Planned:
        """The job against the bundle that is in its place."""
        place, kept = self.root / job.name, self.kept.get(job.name)
        if kept is not None:
            why = self._since(kept, models, about)
            if why or marks_of(place) == {name: tuple(mark) for name, mark in kept.files.items()}:
                return Planned(job, models, options, why, None if why else kept, is_known=not why)
        if not os.path.lexists(place):
            return Planned(job, models, options, (NEW if kept is None else "its bundle is gone",))
        found = find_unchanged(place, models, lambda digests: about.ingredients(digests, shared=True))
        if found is None:
            changed = "another bundle is in its place" if kept is None else "its bundle was changed by someone else"
            return Planned(job, models, options, (changed,))
        known, metrics = kept_of(place, found)
        why = () if known.ingredients["serving"] == about.serving else ("serving has other settings",)
        return Planned(job, models, options, why, None if why else known, metrics)

    def _since(self, kept: Kept, models: tuple[ModelFile, ...], about: Circumstances) -> tuple[str, ...]:
        """What is another now than when a bundle was made."""
        digests = self._digests(models, kept)
        if digests is None:
            return ("its models have other files now",)
        return changes(kept.ingredients, {**about.ingredients(digests, shared=True), "serving": about.serving})

    def _digests(self, models: Sequence[ModelFile], kept: Kept) -> dict[str, str] | None:
        """The digests of models by name, of whose external files the ledger knows; None if those are others now."""
        digests = {}
        for model in models:
            named = listed_files(model, kept.external[model.name]) if model.name in kept.external else None
            if named is None:
                return None
            digests[model.name] = listed_digest(model, named, self.index.digest)
        return digests


def marks_of(place: Path) -> dict[str, tuple[int, int, int]]:
    """The marks of a bundle's files by their paths in it, of none if it is not there."""
    found: dict[str, tuple[int, int, int]] = {}
    folders = [(place, "")]
    while folders:
        folder, prefix = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((Path(entry.path), f"{prefix}{entry.name}/"))
                    else:
                        found[f"{prefix}{entry.name}"] = mark_of(entry.stat(follow_symlinks=False))
        except OSError:
            continue
    return found


def kept_of(place: Path, found: Unchanged) -> tuple[Kept, Mapping[str, float]]:
    """What the ledger is to know of a bundle that is there and that no build on record made, and its figures."""
    made = made_of_unchanged(found)
    return Kept(made.key, made.ingredients, made.external, marks_of(place)), made.metrics
