"""`unspool zoo`: compile many models for many targets, again and again."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from artifacts.errors import Problem, UsageError
from compiler.cli.output import JsonFlag, print_json, print_table
from compiler.cli.zoo_builds import COMMANDS, LabelFlag, result_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compiler.zoo.build import Summary
    from compiler.zoo.jobs import Job
    from compiler.zoo.plan import Plan, Planned

app = typer.Typer(
    name="zoo",
    help="Compile many models for many targets: plan, build, and compare builds.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ZooArgument = Annotated[Path, typer.Argument(metavar="ZOO.yaml", help="The zoo's file: see docs/zoo.md.")]
OutputFlag = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the zoo's bundles.")]
OnlyFlag = Annotated[
    list[str] | None,
    typer.Option(metavar="JOB|ENTRY|PATTERN", help="These jobs alone; again for more. Patterns as of a shell."),
]
EngineFlag = Literal["local", "ray"]


@app.command("check")
def check_command(zoo: ZooArgument, json: JsonFlag = False) -> None:
    """Read a zoo's file and say everything that is wrong with it, by line and column. Nothing is compiled.

    unspool zoo check zoo.yaml
    """
    from compiler.zoo.read import read_zoo

    found = read_zoo(zoo)
    if json:
        print_json({"jobs": [_job_document(job) for job in found.jobs]})
        return
    rows = [[job.name, ", ".join(source.name for source in job.sources), ", ".join(job.labels)] for job in found.jobs]
    print_table(f"{zoo}: {len(found.jobs)} jobs", ["job", "models", "labels"], rows)


@app.command("build")
def build_command(  # noqa: PLR0913, PLR0917 - one parameter a flag
    zoo: ZooArgument,
    output: OutputFlag,
    only: OnlyFlag = None,
    label: LabelFlag = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Jobs at a time; as many as there are processors if left out.")
    ] = None,
    engine: Annotated[EngineFlag, typer.Option(help="Where jobs run: this machine, or a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Of --engine ray: the cluster; one of its own if left out.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="Share weights through this folder or URL; DIR/store if left out."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="4GiB", help="Memory of one worker; this machine's by the number of workers if left out."),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast/--keep-going", help="End the build when a job fails, or do the others.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and why.")] = False,
    explain: Annotated[
        list[str] | None,
        typer.Option(metavar="JOB|ENTRY|PATTERN", help="Show why these jobs would be done, or not, and with what."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Build what is not up to date: a bundle for each model, target and precision at DIR/NAME/TARGET-PRECISION.

    unspool zoo build zoo.yaml -o build/zoo

    unspool zoo build zoo.yaml -o build/zoo --dry-run

    unspool zoo build zoo.yaml -o build/zoo --explain ocr

    unspool zoo build zoo.yaml -o build/zoo --only 'ocr/*' --workers 2 --memory 4GiB

    unspool zoo build zoo.yaml -o build/zoo --engine ray --address 10.0.0.1:6379 --store s3://bucket/zoo

    A build that was ended, or killed, goes on when it is called again. Exit status 1 if a job failed.
    """
    from compiler.zoo.build import Place, build, plan_of
    from compiler.zoo.fetch import Fetcher
    from compiler.zoo.pools import find_pool
    from compiler.zoo.progress import Progress
    from compiler.zoo.read import read_zoo

    found = read_zoo(zoo)
    chosen = selected(found.jobs, [*(only or ()), *(explain or ())], label or ())
    if engine != "ray" and address is not None:
        raise UsageError.of("options", "--address", "is of --engine ray", "leave it out, or give --engine ray")
    count = workers or os.cpu_count() or 1
    with Place.opened(output, store or found.store) as place:
        plan = plan_of(found, chosen, place, Fetcher(place).located)
        if dry_run or explain:
            _show_plan(plan, explained=bool(explain), json=json)
            return
        if plan.due and not json:
            print(_plan_line(plan, count), file=sys.stderr)
        pool = find_pool(engine, workers, memory, address)
        progress = Progress(len(plan.due), count, _expected(plan, count))
        with progress.shown():
            summary = build(plan, place, pool, keep_going=not fail_fast, watch=progress)
    if json:
        problems = [Problem(**problem) for result in summary.results for problem in result.problems]
        print_json(_summary_document(summary), problems)
    else:
        _print_summary(summary, output)
    if summary.status == "stopped":
        raise KeyboardInterrupt
    if not summary.is_good:
        raise typer.Exit(1)


def selected(jobs: Sequence[Job], patterns: Sequence[str], labels: Sequence[str]) -> tuple[Job, ...]:
    """The jobs that patterns name, all without any, and that have one of the labels. Raises UsageError for none."""

    def named(job: Job, pattern: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for name in (job.name, job.entry))

    for pattern in patterns:
        if not any(named(job, pattern) for job in jobs):
            hint = "`unspool zoo check` lists the jobs"
            raise UsageError.of("options", pattern, "names no job of this zoo", hint)
    found = tuple(
        job
        for job in jobs
        if (not patterns or any(named(job, pattern) for pattern in patterns))
        and (not labels or set(labels) & set(job.labels))
    )
    if not found:
        known = ", ".join(sorted({label for job in jobs for label in job.labels})) or "none"
        raise UsageError.of("options", f"--label {' '.join(labels)}", "is on no job of these", f"labels: {known}")
    return found


def _expected(plan: Plan, workers: int) -> float | None:
    """Seconds that a plan takes, as far as earlier builds tell."""
    known = [planned.seconds for planned in plan.due if planned.seconds is not None]
    if not known:
        return None
    each = sum(known) / len(known)
    return max(each * len(plan.due) / workers, *known)


def _plan_line(plan: Plan, workers: int) -> str:
    """What a build is about to do, in a line."""
    expected = _expected(plan, workers)
    time = "" if expected is None else f", about {expected:.0f} s"
    reasons = Counter(planned.why[0] for planned in plan.due)
    told = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common(3))
    return f"{len(plan.due)} of {len(plan.jobs)} jobs to do{time} ({told})"


def _show_plan(plan: Plan, *, explained: bool, json: bool) -> None:
    if json:
        print_json({"jobs": [_planned_document(planned) for planned in plan.jobs], "strays": list(plan.strays)})
        return
    if explained:
        for planned in plan.jobs:
            _explain(planned)
        return
    rows = [
        [
            planned.job.name,
            "make" if planned.is_due else "keep",
            "; ".join(planned.why) or "up to date",
            "" if planned.seconds is None or not planned.is_due else f"{planned.seconds:.1f}",
        ]
        for planned in plan.jobs
    ]
    print_table(f"{len(plan.due)} of {len(plan.jobs)} jobs to do", ["job", "", "why", "seconds"], rows)
    for stray in plan.strays:
        print(f"no job makes {stray} any more")


def _explain(planned: Planned) -> None:
    print(f"{planned.job.name} ({planned.job.place}): {'to be made' if planned.is_due else 'up to date'}")
    for why in planned.why:
        print(f"  because {why}")
    for problem in planned.problems:
        print(f"  {problem}")
    if planned.last:
        print(f"  failed in {planned.last}")
    for model in planned.models:
        print(f"  model {model.name}: {', '.join(map(str, model.paths))}")
    for name, value in _options_document(planned.job).items():
        print(f"  option {name}: {value}")
    if planned.seconds is not None:
        print(f"  takes about {planned.seconds:.1f} s")


def _options_document(job: Job) -> dict[str, Any]:
    """The flags of a job that are not their defaults."""
    from dataclasses import fields

    return {
        field.name.replace("_", "-"): value if isinstance(value, str | int | float | list) else str(value)
        for field in fields(job.flags)
        if (value := getattr(job.flags, field.name)) != field.default
    }


def _job_document(job: Job) -> dict[str, Any]:
    return {
        "job": job.name,
        "entry": job.entry,
        "target": job.target,
        "precision": job.precision,
        "batch": job.batch,
        "labels": list(job.labels),
        "models": {source.name: list(source.locations) for source in job.sources},
        "options": _options_document(job),
        "place": job.place,
    }


def _planned_document(planned: Planned) -> dict[str, Any]:
    return {
        **_job_document(planned.job),
        "due": planned.is_due,
        "why": list(planned.why),
        "problems": [vars(problem) for problem in planned.problems],
        "last_failure": planned.last or None,
        "seconds": planned.seconds,
    }


def _summary_document(summary: Summary) -> dict[str, Any]:
    return {
        "build": summary.build,
        "status": summary.status,
        "complete": summary.is_good,
        "seconds": summary.seconds,
        "jobs": [result_document(result) for result in summary.results],
        "strays": list(summary.plan.strays),
    }


def _print_summary(summary: Summary, output: Path) -> None:
    from compiler.zoo.ledger import State
    from compiler.zoo.progress import word

    counts = {state: sum(result.state is state for result in summary.results) for state in State}
    told = ", ".join(f"{count} {word(state)}" for state, count in counts.items() if count)
    print(f"{output}: {told}; build {summary.build} took {summary.seconds:.1f} s")
    for result in summary.results:
        if result.state is not State.FAILED:
            continue
        for attempt in result.attempts:
            print(f"failed: {result.job}: {attempt.reason}")
        for problem in result.problems:
            if problem.get("hint"):
                print(f"  hint: {problem['hint']}")
    for stray in summary.plan.strays:
        print(f"no job makes {stray} any more: `unspool zoo prune` removes it")


@app.command("rules")
def rules_command(zoo: ZooArgument, output: OutputFlag) -> None:
    """Print rules for make, which then does what `unspool zoo build` does, without its scheduler.

    unspool zoo rules zoo.yaml -o build/zoo > zoo.mk

    make -f zoo.mk -j2 zoo

    In a Makefile: `zoo.mk: zoo.yaml` with that recipe, and `include zoo.mk`. Targets: zoo, and zoo-NAME.
    """
    from compiler.zoo.fetch import path_of
    from compiler.zoo.read import read_zoo
    from compiler.zoo.rules import make_rules

    print(make_rules(read_zoo(zoo), output, lambda location: path_of(output, location)), end="")


@app.command("fetch")
def fetch_command(zoo: ZooArgument, output: OutputFlag, only: OnlyFlag = None) -> None:
    """Fetch models that are at URLs, if they changed, as a build does; print where they are.

    unspool zoo fetch zoo.yaml -o build/zoo
    """
    from compiler.zoo.build import Place
    from compiler.zoo.fetch import Fetcher
    from compiler.zoo.read import read_zoo

    chosen = selected(read_zoo(zoo).jobs, only or (), ())
    with Place.opened(output, waits=True) as place:  # of `make -j` several fetch at once
        fetcher = Fetcher(place)
        paths = {path: None for job in chosen for model in fetcher.located(job) for path in model.paths}
    for path in paths:
        print(path)


@app.command("prune")
def prune_command(
    zoo: ZooArgument,
    output: OutputFlag,
    store: Annotated[str | None, typer.Option(metavar="STORE", help="As that of the builds.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed.")] = False,
    json: JsonFlag = False,
) -> None:
    """Remove bundles that no job makes any more, and what the store keeps for nobody.

    unspool zoo prune zoo.yaml -o build/zoo
    """
    from compiler.zoo.build import Place
    from compiler.zoo.prune import prune
    from compiler.zoo.read import read_zoo

    found = read_zoo(zoo)
    with Place.opened(output, store or found.store, create=False) as place:
        removed = prune(found, place, dry_run=dry_run)
    if json:
        print_json({"bundles": list(removed.bundles), "bytes": removed.bytes, "dry_run": dry_run})
        return
    would = "would remove" if dry_run else "removed"
    for bundle in removed.bundles:
        print(f"{would} {bundle}")
    print(f"{would} {removed.bytes / 1e6:.1f} MB that nothing needs")


for _command in COMMANDS:
    app.command(_command.__name__.removesuffix("_command"))(_command)
