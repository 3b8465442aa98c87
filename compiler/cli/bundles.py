"""`unspool run`, `verify`, `check` and `inspect`: with bundles that are there. No torch is imported."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from artifacts.errors import UsageError
from compiler.cli.output import JsonFlag, print_json, print_table, write_file

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")]
ModelFlag = Annotated[str | None, typer.Option(metavar="NAME", help="Which model, if the bundle holds several.")]
ThreadsFlag = Annotated[int | None, typer.Option(min=1, help="Threads within an operator.")]
WeightsFlag = Literal["prepacked", "mapped", "cached"]


def run_command(  # noqa: PLR0913, PLR0917 - one parameter a flag
    bundle: BundleArgument,
    inputs: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, metavar="IN.npz", help="Inputs by the source model's names.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT.npz", help="Where to put outputs.")
    ] = None,
    model: ModelFlag = None,
    threads: ThreadsFlag = None,
    beams: Annotated[int | None, typer.Option(min=1, help="Beams to search with instead of the bundle's.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Rows that are decoded together; all that the file has if left out.")
    ] = None,
    weights: Annotated[
        WeightsFlag | None, typer.Option(help="How engines take their weights, instead of the bundle's default.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Run a model of a bundle on inputs from a file.

    unspool run build/ocr --inputs images.npz -o tokens.npz

    A decoding model takes the encoder's inputs and gives tokens and lengths, both int64; with beams also scores.

    unspool run build/summarize --inputs texts.npz --beams 4

    Beams need a bundle that was compiled with --schedule loop.

    unspool run build/ocr --inputs images.npz --batch 8 -o tokens.npz
    """
    from artifacts.runtime import Session
    from artifacts.samples import archive_bytes, read_arrays

    arrays = read_arrays(inputs)
    with Session.open(bundle, model, threads=threads, beams=beams, weights=weights) as session:
        started = time.perf_counter()
        answer = session.answer(arrays, batch=batch)
        seconds = time.perf_counter() - started
    results = answer.outputs
    if output is not None:
        write_file("run", output, archive_bytes(results))
    shapes = {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in results.items()}
    if json:
        values = {name: array.tolist() for name, array in results.items() if array.size <= _SHOWN}
        written = str(output) if output else None
        drafted = None if answer.drafted is None else asdict(answer.drafted)
        took = {"calls": dict(answer.calls), "full_products": answer.full_products, "drafted": drafted}
        print_json({"outputs": shapes, "values": values, "seconds": seconds, "output": written, **took})
        return
    for name, array in results.items():
        print(f"{name}: {array.dtype}[{', '.join(map(str, array.shape))}]")
        if output is None:
            print(array)
    print(f"{seconds * 1000:.1f} ms", file=sys.stderr)
    if answer.full_products is not None:
        print(f"tokens chosen by the full product: at {answer.full_products} positions", file=sys.stderr)
    if answer.drafted is not None:
        print(f"guessed tokens that were right: {answer.drafted.accepted} of {answer.drafted.tokens}", file=sys.stderr)


_SHOWN = 4096
"""Outputs up to this many elements are part of the JSON document; larger ones belong in a file."""


def verify_command(
    bundle: BundleArgument,
    against: Annotated[
        Path | None, typer.Option(metavar="MODEL.onnx|FOLDER", help="Compare with this source model.")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, metavar="IN.npz", help="With --against: inputs by name.")
    ] = None,
    model: ModelFlag = None,
    atol: Annotated[float | None, typer.Option(min=0, help="Absolute tolerance.")] = None,
    rtol: Annotated[float | None, typer.Option(min=0, help="Relative tolerance.")] = None,
    json: JsonFlag = False,
) -> None:
    """Check a bundle's files, then its answers: against the samples it carries, or against a source model.

    unspool verify build/ocr

    unspool verify build/ocr --against model.onnx --inputs images.npz
    """
    from artifacts.checks import Tolerances, require_equal
    from compiler.verify import verify

    if inputs is not None and against is None:
        raise UsageError.of("options", "--inputs", "needs --against", "the bundle's own samples have their own inputs")
    verified = verify(bundle, against, inputs, model, Tolerances.of(atol, rtol))
    rows: list[dict[str, Any]] = [
        {
            "model": check.model,
            "sample": check.sample,
            "output": check.output,
            "max_abs": check.comparison.max_abs,
            "max_rel": check.comparison.max_rel,
            "required": check.comparison.required,
            "passed": check.passed,
            "equal": check.comparison.passed,
        }
        for check in verified.checks
    ]
    if json:
        require_equal(verified.checks, "verify", "compilation", verified.where)
        print_json({"bundle": str(bundle), "checks": rows, "sources": list(verified.sources)})
        return
    for name in verified.sources:
        print(f"note: engine {name} cannot run here: its source was asked, not its plan", file=sys.stderr)
    print_table(
        f"{bundle}: {sum(row['passed'] for row in rows)} of {len(rows)} outputs agree",
        ["model", "sample", "output", "max_abs", "max_rel", "of the tolerance", ""],
        [
            [
                row["model"],
                str(row["sample"]),
                row["output"],
                f"{row['max_abs']:.3g}",
                f"{row['max_rel']:.3g}",
                f"{row['required']:.3g}",
                "DIFFERS" if not row["passed"] else "ok" if row["equal"] else "differs, and may",
            ]
            for row in rows
        ],
    )
    require_equal(verified.checks, "verify", "compilation", verified.where)


def check_command(
    bundle: BundleArgument,
    on: Annotated[
        list[str],
        typer.Option(
            metavar="DEVICE,...",
            help="Where it will be deployed: cpu, or nvidia:sm89 for a GPU of compute capability 8.9; may be repeated.",
        ),
    ],
    json: JsonFlag = False,
) -> None:
    """Say before a deployment whether every engine of a bundle can load there. Nothing is run, no GPU is needed.

    unspool check build/ocr --on nvidia:sm89

    unspool check build/ocr --on nvidia:sm86,nvidia:sm89
    """
    from artifacts.bundle import Bundle
    from artifacts.devices import check_loading, parse_devices
    from artifacts.errors import BundleError

    devices = parse_devices(on)
    found = check_loading(Bundle.open(bundle), devices)
    problems = [loading.problem for loading in found if loading.problem is not None]
    if json:
        BundleError.raise_if(problems)
        engines = [
            {
                "engine": loading.engine,
                "kind": loading.kind,
                "loads": dict(zip(devices, loading.loads, strict=True)),
            }
            for loading in found
        ]
        print_json({"bundle": str(bundle), "engines": engines})
        return
    print_table(
        f"{bundle}: {len(found) - len(problems)} of {len(found)} engines can load on {', '.join(devices)}",
        ["engine", "kind", *devices],
        [
            [loading.engine, loading.kind, *("loads" if loads else "CANNOT LOAD" for loads in loading.loads)]
            for loading in found
        ],
    )
    BundleError.raise_if(problems)


def inspect_command(
    thing: Annotated[
        Path,
        typer.Argument(metavar="THING", help="A bundle, an ONNX model, a safetensors file, or a .neff or traced .pt."),
    ],
    json: JsonFlag = False,
) -> None:
    """Show what is in a bundle, a model, a file of weights, or what AWS Neuron compiled.

    unspool inspect build/ocr

    unspool inspect model.onnx --json

    unspool inspect model.neff
    """
    from compiler.inspect import inspect

    document, sections = inspect(thing)
    if json:
        print_json(document)
        return
    for section in sections:
        print_table(section.title, section.columns, section.rows)


COMMANDS = (run_command, verify_command, check_command, inspect_command)
