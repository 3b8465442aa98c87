"""`unspool zoo ls`, `report`, `diff` and `why`: what builds of a zoo made. No torch is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compiler.cli.output import JsonFlag, print_json, print_table, write_file

if TYPE_CHECKING:
    from compiler.zoo.ledger import Result

LabelFlag = Annotated[
    list[str] | None, typer.Option(metavar="LABEL", help="Jobs with this label alone; again for more.")
]
DirArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that -o of `zoo build` named.")]


def ls_command(
    folder: DirArgument,
    build: Annotated[int | None, typer.Option(help="A build's number; the last one if left out.")] = None,
    builds: Annotated[bool, typer.Option("--builds", help="List the builds instead of one's jobs.")] = False,
    label: LabelFlag = None,
    state: Annotated[str | None, typer.Option(metavar="failed", help="Jobs that ended so alone.")] = None,
    json: JsonFlag = False,
) -> None:
    """List what a build made, or all builds.

    unspool zoo ls build/zoo

    unspool zoo ls build/zoo --state failed

    unspool zoo ls build/zoo --builds
    """
    from compiler.zoo.history import find_build
    from compiler.zoo.ledger import LEDGER, Ledger

    with Ledger.open(folder / LEDGER) as ledger:
        if builds:
            _list_builds(ledger, json=json)
            return
        found = find_build(ledger, build)
        results = [
            result
            for result in ledger.results(found.id)
            if (state is None or result.state.value == state) and (not label or set(label) & set(result.labels))
        ]
        figures = ledger.figures([result.job for result in results], found.id)
    if json:
        jobs = [{**result_document(result), "figures": figures.get(result.job, {})} for result in results]
        print_json({"build": vars(found), "jobs": jobs})
        return
    rows = [_result_row(result, figures.get(result.job, {})) for result in results]
    columns = ["job", "", "MB", "weights MB", "seconds", "peak MB", "off by", "labels"]
    print_table(f"{folder}, build {found.id} of {found.started}: {found.status}", columns, rows)


def _result_row(result: Result, figures: Any) -> list[str]:
    worst = max((value for name, value in figures.items() if name.startswith("numerics.")), default=None)
    return [
        result.job,
        result.state.value if not result.attempts else f"{result.state.value}: {result.attempts[-1].reason}",
        _mega(figures.get("bytes")),
        _mega(figures.get("bytes.weights")),
        f"{figures['seconds']:.1f}" if "seconds" in figures else "",
        _mega(result.peak_bytes),
        "" if worst is None else f"{worst:.2g}",
        ", ".join(result.labels),
    ]


def _mega(count: float | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f}"


def _list_builds(ledger: Any, *, json: bool) -> None:
    found = ledger.builds()
    if json:
        print_json({"builds": [vars(build) for build in found]})
        return
    rows = [
        [
            str(build.id),
            build.started,
            build.status,
            "" if build.seconds is None else f"{build.seconds:.1f}",
            f"{build.engine}, {build.workers or 'any'} workers",
            build.unspool,
        ]
        for build in found
    ]
    print_table(f"{len(rows)} builds", ["build", "started", "ended", "seconds", "on", "unspool"], rows)


def report_command(
    folder: DirArgument,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="REPORT.html", help="File to write.")],
    build: Annotated[int | None, typer.Option(help="A build's number; the last one if left out.")] = None,
) -> None:
    """Draw what a build made into one HTML file: sizes, times and differences by job, and how each ended.

    unspool zoo report build/zoo -o zoo.html
    """
    from compiler.zoo.history import find_build
    from compiler.zoo.ledger import LEDGER, Ledger
    from compiler.zoo.report import page

    with Ledger.open(folder / LEDGER) as ledger:
        found = find_build(ledger, build)
        results = ledger.results(found.id)
        figures = ledger.figures([result.job for result in results], found.id)
        builds = [each for each in ledger.builds() if each.id <= found.id]
    write_file("zoo", output, page(folder.resolve().name, builds, results, figures).encode())
    print(output)


def diff_command(
    folder: DirArgument,
    before: Annotated[int | None, typer.Argument(metavar="[BEFORE]", help="A build; the last but one.")] = None,
    after: Annotated[int | None, typer.Argument(metavar="[AFTER]", help="A later build; the last one.")] = None,
    zoo: Annotated[
        Path | None, typer.Option(metavar="ZOO.yaml", help="The zoo's file, for the thresholds in it.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit status 1 if something is worse.")] = False,
    json: JsonFlag = False,
) -> None:
    """Show what changed between two builds: sizes, times, differences from the source, operators.

    unspool zoo diff build/zoo

    unspool zoo diff build/zoo 3 7 --zoo zoo.yaml --check
    """
    from dataclasses import asdict

    from compiler.zoo.history import difference, find_build
    from compiler.zoo.ledger import LEDGER, Ledger
    from compiler.zoo.read import read_thresholds

    with Ledger.open(folder / LEDGER) as ledger:
        later = find_build(ledger, after)
        earlier = find_build(ledger, before if before is not None else max(1, later.id - 1))
        found = difference(ledger, earlier, later, read_thresholds(zoo))
    worse = bool(found.regressions or found.failed)
    if json:
        print_json({**asdict(found), "worse": worse})
    else:
        _print_difference(found)
    if check and worse:
        raise typer.Exit(1)


def _print_difference(found: Any) -> None:
    for text, jobs in (("new", found.came), ("gone", found.went), ("fails now", found.failed)):
        for job in jobs:
            print(f"{text}: {job}")
    rows = [
        [
            figure.job,
            figure.name,
            _figure(figure.before),
            _figure(figure.after),
            _growth(figure.before, figure.after),
            "worse" if figure.is_worse else "",
        ]
        for figure in found.figures
    ]
    title = (
        f"build {found.before.id} -> {found.after.id}: {len(rows)} figures changed, {len(found.regressions)} are worse"
    )
    print_table(title, ["job", "figure", "before", "after", "", ""], rows)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if value < 1e5 else f"{value:.0f}"


def _growth(before: float | None, after: float | None) -> str:
    return "" if not before or after is None else f"{after / before - 1:+.1%}"


def why_command(
    folder: DirArgument,
    job: Annotated[str, typer.Argument(metavar="JOB", help="A job's name, ENTRY/TARGET-PRECISION.")],
    json: JsonFlag = False,
) -> None:
    """Tell the story of a job: when it was made, why, what had changed, and how it failed.

    unspool zoo why build/zoo ocr/onnxruntime-fp32
    """
    from compiler.zoo.history import why
    from compiler.zoo.ledger import LEDGER, Ledger

    with Ledger.open(folder / LEDGER) as ledger:
        found = list(why(ledger, job))
    if json:
        story = [{"build": build, **result_document(result), "changed": changed} for build, result, changed in found]
        print_json({"job": job, "story": story})
        return
    for build, result, changed in found:
        reason = f", because {result.why}" if result.why else ""
        took = f" in {result.seconds:.1f} s" if result.seconds else ""
        print(f"build {build}: {result.state.value}{took}{reason}")
        for attempt in result.attempts:
            print(f"  after {attempt.seconds:.1f} s: {attempt.reason}")
        for text in changed:
            if text not in result.why:
                print(f"  changed: {text}")


def result_document(result: Result) -> dict[str, Any]:
    """A result as JSON has it."""
    return {
        "job": result.job,
        "state": result.state.value,
        "why": result.why,
        "key": result.key,
        "seconds": result.seconds,
        "peak_bytes": result.peak_bytes,
        "attempts": [vars(attempt) for attempt in result.attempts],
        "problems": list(result.problems),
        "notices": list(result.notices),
        "labels": list(result.labels),
        "node": result.node or None,
    }


COMMANDS = (ls_command, report_command, diff_command, why_command)
