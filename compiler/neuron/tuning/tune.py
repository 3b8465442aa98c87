"""Tune: try sets of neuronx-cc's flags on the sources that a bundle carries, and rank them by what came of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from artifacts.bundle import Bundle
from artifacts.errors import UsageError
from artifacts.neuron_options import NeuronOptions
from compiler.neuron.probe import Compiler
from compiler.neuron.tuning.ranking import Ranked, ranked
from compiler.neuron.tuning.trials import Running, Trial, known_outcome, run_trials
from compiler.neuron.tuning.work import Outcome, Schedule, Work, sources_of
from compiler.targets.target import Tell


@dataclass(frozen=True)
class Tuned:
    """What came of the trials: the sets, the best first, and how many trials there are, were known, and are left."""

    sets: tuple[Ranked, ...]
    trials: int
    known: int


def recorded_options(bundle: Bundle) -> NeuronOptions:
    """How the bundle's engines are to be compiled. Raises UsageError unless they have sources for neuronx-cc."""
    builds = [engine.build for engine in bundle.manifest.engines.values()]
    first = next((build for build in builds if isinstance(build, NeuronOptions)), None)
    if first is None:
        hint = "compile the model with --target neuronx"
        raise UsageError.of("tune", str(bundle.root), "has no sources that AWS Neuron's compiler takes", hint)
    return first


def scheduled(bundle: Bundle, work: Work, sets: tuple[NeuronOptions, ...] | None) -> Schedule:
    """The schedule for the sets, which is written; for None that which is there. Raises UsageError, BundleError."""
    engines = sources_of(bundle.manifest)
    if sets is not None:
        schedule = Schedule(engines=engines, sets=sets)
        work.write(schedule)
        return schedule
    found = work.schedule()
    assert found is not None
    if found.engines != engines:
        hint = "choose another --work, or give the sets to try once more"
        raise UsageError.of("tune", str(work.root), f"is for other sources than those of {bundle.root}", hint)
    return found


def trials_of(bundle: Bundle, schedule: Schedule) -> tuple[Trial, ...]:
    """A trial for each set on each source, set by set."""
    manifest = bundle.manifest
    return tuple(
        Trial(name, bundle.path_of(manifest.engines[name].source), digest, options)
        for options in schedule.sets
        for name, digest in schedule.engines.items()
    )


def tune_flags(
    bundle: Bundle,
    schedule: Schedule,
    running: Running,
    work: Work,
    finished: Callable[[Trial, Outcome, int, int], None],
    tell: Tell,
) -> Tuned:
    """Run what is missing of a schedule, and rank its sets.

    `finished` is called with each trial that was run, its outcome, how many are done, and how many there are. Raises
    TargetError if the compiler cannot be run at all, BundleError if the folder cannot be read or written.
    """
    trials = trials_of(bundle, schedule)
    missing = [trial for trial in trials if known_outcome(trial, running, work) is None]
    done = known = len(trials) - len(missing)

    def count(trial: Trial, outcome: Outcome) -> None:
        nonlocal done
        done += 1
        finished(trial, outcome, done, len(trials))

    run_trials(missing, running, work, count, tell)
    return Tuned(outcomes_of(trials, running.tool, work), len(trials), known)


def outcomes_of(trials: tuple[Trial, ...], tool: Compiler, work: Work) -> tuple[Ranked, ...]:
    """The sets of trials, the best first, by what is known of them."""
    found: dict[NeuronOptions, dict[str, Outcome | None]] = {}
    for trial in trials:
        found.setdefault(trial.options, {})[trial.engine] = work.outcome(trial.attempt(tool.version))
    return tuple(ranked(tuple(found), found))
