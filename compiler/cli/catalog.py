"""`unspool targets`, `ops` and `schema`: what this installation can do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from artifacts.errors import UsageError
from compiler.cli.output import JsonFlag, print_json, print_table
from compiler.flags.converting import ConverterFlag, CustomOpsFlag

if TYPE_CHECKING:
    pass


def targets_command(json: JsonFlag = False) -> None:
    """List the targets, whether this machine has their tools, and what they can do."""
    from compiler.targets import all_targets

    rows = []
    document = {}
    for name, target in all_targets().items():
        available = target.availability()
        decodes = [f"{control} ({state})" for state, control in target.decodes]
        document[name] = {
            "usable": available.usable,
            "version": available.version,
            "hint": available.hint,
            "summary": target.summary,
            "precisions": list(target.precisions),
            "decodes": decodes,
        }
        state = available.version or (available.hint if available.usable else f"missing: {available.hint}")
        rows.append([name, state, ", ".join(target.precisions), ", ".join(("single", *decodes)), target.summary])
    if json:
        print_json({"targets": document})
    else:
        print_table("Targets", ["target", "installed", "precisions", "schedules", ""], rows)


def ops_command(  # noqa: PLR0913, PLR0917 - one parameter a flag
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Run ONNX's own backend tests through the importer; half a minute.")
    ] = False,
    pipeline: Annotated[
        bool, typer.Option("--pipeline", help="With --coverage: through export, emission and ONNX Runtime; an hour.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="With --pipeline: processes that share the work.")] = 2,
    converter: ConverterFlag = "unspool",
    custom_ops: CustomOpsFlag = None,
    markdown: Annotated[
        Path | None, typer.Option(help="With --coverage: write the score to this file, beside those of others.")
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            metavar="FOLDER|MODEL.onnx",
            help="Convert these files with every converter, and say how each ended; may be given several times.",
        ),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(metavar="RECORD.json", help="With --markdown: what --compare --json printed, to be told too."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """List the ONNX operators that convert, by since-version.

    unspool ops

    unspool ops --coverage --json

    unspool ops --compare exports/
    """
    from compiler.converters import find_converter
    from compiler.ops import converted_operators, missing_operators
    from compiler.options import CompileOptions, ConverterName

    if pipeline and not coverage:
        raise UsageError.of("options", "--pipeline", "goes with --coverage", "write --coverage --pipeline")
    if markdown is not None and not coverage:
        raise UsageError.of("options", "--markdown", "goes with --coverage", "write --coverage --markdown FILE")
    if compare:
        _compare(compare, json)
        return
    if coverage:
        _coverage(pipeline, workers, json, markdown, models)
        return
    chosen = find_converter(CompileOptions(converter=ConverterName(converter), custom_ops=tuple(custom_ops or ())))
    keys = chosen.operators()
    converted, missing = converted_operators(keys), missing_operators(keys, bodies=chosen.runs_bodies)
    if json:
        print_json({"operators": converted, "missing": missing})
        return
    print_table(
        "Operators", ["operator", "since versions"], [[n, ", ".join(map(str, v))] for n, v in converted.items()]
    )
    print_table("Missing", ["operator", "since versions"], [[n, ", ".join(map(str, v))] for n, v in missing.items()])


def schema_command(
    zoo: Annotated[bool, typer.Option("--zoo", help="That of zoo.yaml instead, for editors.")] = False,
    json: JsonFlag = False,
) -> None:
    """Print the JSON Schema of a bundle's manifest.json; with --json as the member `schema` of a document.

    unspool schema --zoo > zoo.schema.json
    """
    from artifacts.canonical import canonical_json
    from artifacts.manifest import manifest_schema

    if zoo:
        from compiler.zoo.spec import spec_schema

        schema = dict(spec_schema())
    else:
        schema = manifest_schema()
    if json:
        print_json({"schema": schema})
        return
    sys.stdout.write(canonical_json(schema, indent=2).decode())


COMMANDS = (targets_command, ops_command, schema_command)


def _coverage(pipeline: bool, workers: int, json: bool, markdown: Path | None, models: Path | None) -> None:
    from compiler.coverage import measure_coverage
    from compiler.coverage_document import OURS, coverage_markdown
    from compiler.coverage_models import read_comparison
    from compiler.coverage_peers import measure_peers
    from compiler.coverage_pipeline import PipelineScore, measure_pipeline
    from compiler.coverage_pipeline_document import pipeline_markdown

    comparison = None if models is None else read_comparison(models)
    score = measure_pipeline(workers=workers) if pipeline else measure_coverage()
    if markdown is not None:
        if isinstance(score, PipelineScore):
            text = pipeline_markdown(score)
        else:
            text = coverage_markdown({OURS: score, **measure_peers()}, comparison)
        markdown.write_text(text, encoding="utf-8")
    if json:
        print_json(score.document())
        return
    rows = [[case.name, case.outcome, case.reason] for case in score.cases if case.outcome != "passed"]
    print_table(
        f"{score.passed} of {score.total} pass, {score.mismatched} are wrong", ["test", "outcome", "reason"], rows
    )


def _compare(places: list[Path], json: bool) -> None:
    from compiler.build_log import BuildLog
    from compiler.coverage_models import compare_models

    log = BuildLog()
    with log.interrupts.listening():
        comparison = compare_models(places, log)
    if json:
        print_json(comparison.document())
        return
    rows = [[found.model, found.converter, found.outcome, "\n".join(found.reasons)] for found in comparison.conversions]
    print_table("Models", ["file", "converter", "outcome", "why not"], rows)
