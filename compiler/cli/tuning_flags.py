"""`unspool tune BUNDLE`: which flags of a vendor's compiler are best for the sources that a bundle carries."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.errors import UsageError
from compiler.cli.output import print_json, print_table

if TYPE_CHECKING:
    from artifacts.bundle import Bundle
    from artifacts.neuron_options import NeuronOptions
    from compiler.neuron.tuning.ranking import Ranked
    from compiler.neuron.tuning.trials import Trial
    from compiler.neuron.tuning.tune import Tuned
    from compiler.neuron.tuning.work import Outcome, Schedule, Work


@dataclass(frozen=True)
class Asked:
    """What the command was asked for. `axes` are texts by field, `fixed` what all sets have in common."""

    target: str
    work: Path | None
    sets: Path | None
    axes: Mapping[str, str | None]
    fixed: Mapping[str, object]
    jobs: int
    seconds: float | None
    again: bool


def tune_bundle(path: Path, asked: Asked, *, json: bool) -> None:
    """Write a schedule for the bundle at `path`, and run it where the compiler is."""
    from artifacts.bundle import Bundle
    from compiler.neuron.probe import Compiler, probe
    from compiler.neuron.tuning.tune import scheduled
    from compiler.neuron.tuning.work import Work
    from compiler.neuron_flags import unknown_to
    from compiler.targets import find_target

    target = find_target(asked.target)
    given = {*asked.fixed, *(field for field, text in asked.axes.items() if text is not None)}
    UsageError.raise_if(unknown_to(given, asked.seconds, target))
    if not target.neuron_options:
        hint = "give --target neuronx; a schedule is tuned of MODEL.onnx"
        raise UsageError.of("tune", f"--target {target.name}", "has no compiler whose flags are tuned", hint)
    bundle = Bundle.open(path)
    root = path.resolve()
    work = Work(asked.work or root.with_name(f"{root.name}.tune"))
    _check_apart(work.root, root)
    schedule = scheduled(bundle, work, _sets(bundle, work, asked))
    tool = probe().compiler
    document: dict[str, Any] = {"schedule": str(work.root / "schedule.json"), "trials": _count(schedule)}
    if isinstance(tool, Compiler):
        tuned = _run(bundle, schedule, work, asked, tool)
        command = _command(tuned, bundle, path)
        document |= {**_document(tuned, tool), "emit": command}
        if not json:
            _print(tuned, tool)
            print(
                f"emit with: {command}"
                if command
                else "no set that casts nothing, and that flags of emit can say, made every engine"
            )
    else:
        elsewhere = f"unspool tune {shlex.quote(str(path))} --target {target.name} --work {shlex.quote(str(work.root))}"
        document |= {"compiler": None, "why": tool.why, "command": elsewhere}
        if not json:
            print(f"{work.root / 'schedule.json'}: {_count(schedule)} trials, none of which can run here: {tool.why}")
            print(f"where AWS Neuron's compiler is, with both folders: {elsewhere}")
    if json:
        print_json(document)


def _check_apart(work: Path, bundle: Path) -> None:
    """A bundle that holds other files than its own does not open any more."""
    if bundle in (work.resolve(), *work.resolve().parents):
        raise UsageError.of("tune", f"--work {work}", "is within the bundle", "name a folder beside it")


def _sets(bundle: Bundle, work: Work, asked: Asked) -> tuple[NeuronOptions, ...] | None:
    """The sets to try; None to go on with those that are in the folder."""
    from compiler.neuron.tuning.flag_sets import flag_sets, parse_axis, read_sets
    from compiler.neuron.tuning.tune import recorded_options
    from compiler.neuron_flags import FLAGS, neuron_options

    recorded = recorded_options(bundle)
    axes = {field: parse_axis(field, text) for field, text in asked.axes.items()}
    varied = [FLAGS[field] for field, values in axes.items() if values]
    if asked.sets is not None and varied:
        raise UsageError.of(
            "options", f"--sets {asked.sets}", f"says what {', '.join(varied)} would", "leave out either"
        )
    if asked.sets is None and not varied and not asked.fixed and work.schedule() is not None:
        return None
    base = neuron_options(asked.fixed, recorded)
    return flag_sets(base, axes) if asked.sets is None else read_sets(asked.sets, base)


def _run(bundle: Bundle, schedule: Schedule, work: Work, asked: Asked, tool: Any) -> Tuned:
    from compiler.build_log import BuildLog
    from compiler.neuron.compiler import COMPILE_SECONDS
    from compiler.neuron.tuning.trials import Running
    from compiler.neuron.tuning.tune import tune_flags

    seconds = COMPILE_SECONDS if asked.seconds is None else asked.seconds
    running = Running(tool, seconds, asked.jobs, asked.again)
    log = BuildLog()
    with log.interrupts.listening(), log.stage("tune", f"{_count(schedule)} trials") as tell:
        return tune_flags(bundle, schedule, running, work, _tell_finished, tell)


def _tell_finished(trial: Trial, outcome: Outcome, done: int, count: int) -> None:
    code = f" {outcome.code}" if outcome.code else ""
    text = f"{done}/{count} {trial.engine}: {_flags(trial.options)}: {outcome.end}{code}"
    print(f"{outcome.seconds:6.1f} s  {text}", file=sys.stderr, flush=True)


def _count(schedule: Schedule) -> int:
    return len(schedule.engines) * len(schedule.sets)


def _flags(options: NeuronOptions) -> str:
    """The flags of `unspool emit` that say all of a set."""
    from compiler.neuron_flags import written

    return shlex.join(written(options))


def _document(tuned: Tuned, tool: Any) -> dict[str, Any]:
    return {
        "compiler": tool.version,
        "known": tuned.known,
        "sets": [
            {
                "flags": _flags(found.options),
                "options": found.options.model_dump(mode="json"),
                "changes_numerics": found.changes_numerics,
                "compiled": found.compiled,
                "latency_ms": found.latency_ms,
                "neff_bytes": found.neff_bytes if found.whole else None,
                "seconds": found.seconds,
                "engines": {
                    name: None if each is None else each.model_dump(mode="json", exclude={"engine"})
                    for name, each in found.outcomes.items()
                },
            }
            for found in tuned.sets
        ],
    }


def _command(tuned: Tuned, bundle: Bundle, path: Path) -> str | None:
    """The command that makes the engines of the best set whose numbers are those that were proven; None if none did."""
    from compiler.neuron.tuning.tune import recorded_options
    from compiler.neuron_flags import reached, written

    base = recorded_options(bundle)
    exact = (found.options for found in tuned.sets if found.whole and not found.changes_numerics)
    best = next((options for options in exact if reached(options, base)), None)
    if best is None:
        return None
    flags = shlex.join(written(best, base))
    return f"unspool emit --from {shlex.quote(str(path))} --target neuronx {flags} -o BUNDLE2"


def _print(tuned: Tuned, tool: Any) -> None:
    rows = [
        [
            _flags(found.options),
            "changed" if found.changes_numerics else "as proven",
            f"{found.compiled} of {len(found.outcomes)}",
            "" if found.latency_ms is None else f"{found.latency_ms:.2f}",
            f"{found.neff_bytes / 1e6:.2f}" if found.whole else "",
            f"{found.seconds:.1f}",
            _failure(found),
        ]
        for found in tuned.sets
    ]
    known = f"{tuned.trials} trials, {tuned.known} of them known before"
    columns = ["flags", "numerics", "engines", "ms", "NEFF MB", "compiled in s", "ended"]
    print_table(f"neuronx-cc {tool.version}: {known}; the best first", columns, rows)
    if not any(found.latency_ms for found in tuned.sets):
        print("no device ran an engine: sets are ranked by size and time, which say little of speed")


def _failure(found: Ranked) -> str:
    """How the first engine that was not made ended, in a few words."""
    for name, each in found.outcomes.items():
        if each is not None and each.end != "compiled":
            return f"{name}: {each.end} {each.code}".strip()
    return ""
