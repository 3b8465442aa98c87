"""`unspool tune` and `buckets`: how a model decodes, how a compiler is called, and which sizes engines are made for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from artifacts.errors import Problem, UsageError
from compiler.cli.compiling import model_file
from compiler.cli.output import JsonFlag, print_json, print_table, write_file
from compiler.flags import neuron

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from compiler.options import CompileOptions, ModelFile
    from compiler.tuning.choose import Choice
    from compiler.tuning.tune import Tuned

ObjectiveFlag = Literal["mean", "p95"]

_BARS = 12
_WIDTH = 40


def _exploring(*flags: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*flags, help=help, rich_help_panel="Flags of AWS Neuron's compiler, tried for a bundle", **more)


_OF_BOTH = frozenset({"context", "model", "target", "json"})
_OF_BUNDLES = frozenset(
    {
        "work",
        "sets",
        "model_type",
        "auto_cast",
        "auto_cast_type",
        "optlevel",
        "neuron_target",
        "logical_nc_config",
        "fast_loading",
        "neuronx_cc_arg",
        "compiler_timeout",
        "jobs",
        "retry_failed",
    }
)
"""Parameters of the command that say something of either form, or of a bundle alone; the others are of a model."""


def tune_command(  # noqa: PLR0913, PLR0917 - one parameter a flag
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="[NAME=]MODEL.onnx|FOLDER|BUNDLE",
            help="The model whose schedule is chosen, or a bundle for whose sources a compiler's flags are.",
        ),
    ],
    lengths: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="Of a model: lengths of decodes, .csv, .json, .npz of `unspool run -o`, or .txt of token ids.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="BUNDLE", help="Compile the choice into this folder.")
    ] = None,
    objective: Annotated[
        ObjectiveFlag, typer.Option(help="Least mean, or least that 95 % do not exceed and then the mean.")
    ] = "mean",
    costs: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, metavar="COSTS.json", help="Costs of another machine, instead of measuring."
        ),
    ] = None,
    most_partitions: Annotated[int, typer.Option(min=1, help="Most partitions to cut a decoder into.")] = 8,
    batch: Annotated[int, typer.Option(min=1, help="Rows that are decoded together.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads within an operator.")] = 1,
    target: Annotated[str, typer.Option(help="What to make engines for: see `unspool targets`.")] = "onnxruntime",
    max_length: Annotated[int | None, typer.Option(min=1, help="Most tokens to generate.")] = None,
    bos: Annotated[int | None, typer.Option(min=0, help="The decoder's start token.")] = None,
    eos: Annotated[list[int] | None, typer.Option(min=0, help="An end token; may be given several times.")] = None,
    pad: Annotated[int | None, typer.Option(min=0, help="The token that fills ended rows.")] = None,
    samples: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="IN.npz", help="Inputs by name to measure and verify with."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With -o: replace the bundle that is there.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Draw costs by boundary and lengths into one HTML file.")
    ] = None,
    work: Annotated[
        Path | None,
        _exploring(metavar="FOLDER", help="What is tried, and what came of it; BUNDLE.tune beside it if left out."),
    ] = None,
    sets: Annotated[
        Path | None,
        _exploring(exists=True, dir_okay=False, metavar="SETS.json", help="Sets of flags to try, a list of objects."),
    ] = None,
    model_type: Annotated[str | None, _exploring(metavar="generic,...", help="Model types to try; else all.")] = None,
    auto_cast: Annotated[str | None, _exploring(metavar="none,all,...", help="Casts to try; else all.")] = None,
    auto_cast_type: Annotated[str | None, _exploring(metavar="bf16,...", help="Types to cast to; else all.")] = None,
    optlevel: Annotated[str | None, _exploring(metavar="1,2,3", help="Optimization levels to try; else all.")] = None,
    neuron_target: neuron.NeuronTargetFlag = None,
    logical_nc_config: neuron.LogicalFlag = None,
    fast_loading: neuron.FastLoadingFlag = None,
    neuronx_cc_arg: neuron.FurtherFlag = None,
    compiler_timeout: neuron.CompilerTimeoutFlag = None,
    jobs: Annotated[int, _exploring(min=1, help="Compilers that run at a time.")] = 1,
    retry_failed: Annotated[
        bool, _exploring("--retry-failed", help="Try again what failed, for want of memory say.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Choose a decoder's schedule for the lengths that it is asked for, or a compiler's flags for a bundle.

    unspool tune ocr.onnx --lengths lengths.csv

    unspool tune ocr.onnx --lengths tokens.npz -o build/ocr

    unspool tune ocr.onnx --lengths lengths.csv --costs accelerator.json --objective p95

    unspool tune ocr.onnx --lengths lengths.csv --plot costs.html

    Costs of calls and steps are measured on this machine, or read from a file; the best forms are then measured too.

    unspool tune build/ocr-neuron --target neuronx

    unspool tune build/ocr-neuron --target neuronx --auto-cast none --optlevel 1,2,3 --jobs 2

    Each set of flags is tried on each engine, where AWS Neuron's compiler is. A run that was ended goes on.
    """
    if (Path(model) / "manifest.json").is_file():
        from compiler.cli.tuning_flags import Asked, tune_bundle

        _refuse(context, _OF_BOTH | _OF_BUNDLES, "a bundle")
        axes = {
            "model_type": model_type,
            "auto_cast": auto_cast,
            "auto_cast_type": auto_cast_type,
            "optlevel": optlevel,
        }
        fixed = neuron.said(locals(), "target", "logical_nc_config", "fast_loading", "extra")
        of_flags = Asked(target, work, sets, axes, fixed, jobs, compiler_timeout, retry_failed)
        tune_bundle(Path(model), of_flags, json=json)
        return
    _refuse(context, _OF_BOTH | (_names(context) - _OF_BUNDLES), "a model")
    if lengths is None:
        hint = "name a file of lengths; for flags of a compiler give a bundle instead of a model"
        raise UsageError.of("options", "--lengths", "is missing", hint)
    from compiler.build_log import BuildLog
    from compiler.generation import TokenFlags
    from compiler.options import CompileOptions
    from compiler.tuning.choose import Objective
    from compiler.tuning.costs import read_costs
    from compiler.tuning.lengths import read_lengths
    from compiler.tuning.tune import TuneOptions, tune

    if plot is not None:
        from compiler.plotly_module import import_plotly

        import_plotly("tune")  # before anything is measured
    options = CompileOptions(
        target=target, tokens=TokenFlags(bos, tuple(eos) if eos else None, pad, max_length), samples=samples
    )
    asked = TuneOptions(
        lengths=read_lengths(lengths),
        objective=Objective(objective),
        costs=None if costs is None else read_costs(costs),
        most_partitions=most_partitions,
        batch=batch,
        threads=threads,
    )
    file = model_file(model)
    log = BuildLog()
    with log.interrupts.listening():
        tuned = tune(file, options, asked, log)
        if plot is not None:
            from compiler.tuning.plot import page

            write_file("tune", plot, page(file.name, tuned).encode())
        bundle = None if output is None else _compiled(file, options, tuned, output, force)
    if json:
        print_json({**_document(tuned), "bundle": bundle})
        return
    _print(tuned)
    print(bundle or f"compile with: {_flags(tuned)}")


def _names(context: typer.Context) -> set[str]:
    return {parameter.name for parameter in context.command.params if parameter.name}


def _refuse(context: typer.Context, known: AbstractSet[str], what: str) -> None:
    """Raise UsageError with every flag that was given and means nothing to what is tuned."""
    UsageError.raise_if(
        Problem("options", max(parameter.opts, key=len), f"means nothing to {what} that is tuned", "leave it out")
        for parameter in context.command.params
        if parameter.name and parameter.name not in known and _given(context, parameter.name)
    )


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def buckets_command(
    sizes: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, metavar="SIZES.csv", help="Sizes of requests, as lengths of tune."),
    ],
    most_buckets: Annotated[int, typer.Option(min=1, help="Most buckets to choose.")] = 4,
    costs: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="COSTS.csv", help="What sizes cost: size,cost lines."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show which sizes engines would be made for, and what that leaves of padding. Nothing is compiled.

    unspool buckets sizes.csv --most-buckets 6

    `unspool compile --buckets` makes engines for them, where a target's take one size each.
    """
    from dataclasses import asdict

    from compiler.tuning.lengths import read_lengths
    from compiler.tuning.sizes import best_sizes, read_size_costs

    lengths, weighed = read_lengths(sizes), None if costs is None else read_size_costs(costs)
    found = [best_sizes(lengths, most, weighed) for most in range(1, most_buckets + 1)]
    found = list({choice.sizes: choice for choice in found}.values())  # more buckets that bring nothing are not shown
    if json:
        print_json({"choices": [asdict(choice) for choice in found]})
        return
    rows = [
        [str(len(each.sizes)), ", ".join(map(str, each.sizes)), f"{each.padding:.1%}", f"{each.cost:.2f}"]
        for each in found
    ]
    print_table("buckets, and what a request costs", ["buckets", "sizes", "padding", "expected cost"], rows)


def _compiled(file: ModelFile, options: CompileOptions, tuned: Tuned, output: Path, force: bool) -> str:
    from dataclasses import replace

    from compiler.compile import compile_bundle
    from compiler.options import Existing

    existing = Existing.REMAKE if force else Existing.KEEP
    chosen = replace(options, schedule=tuned.best.schedule, partitions=tuned.best.boundaries)
    return str(compile_bundle([file], output, chosen, existing=existing).bundle.root)


def _flags(tuned: Tuned) -> str:
    best = tuned.best
    cuts = f" --partitions {','.join(map(str, best.boundaries))}" if best.boundaries else ""
    return f"--schedule {best.schedule}{cuts} --max-length {tuned.limit}"


def _document(tuned: Tuned) -> dict[str, object]:
    return {
        "schedule": str(tuned.best.schedule),
        "partitions": list(tuned.best.boundaries),
        "max_length": tuned.limit,
        "mean_length": tuned.lengths.mean,
        "costs": tuned.costs.model_dump(mode="json"),
        "forms": [
            {
                "schedule": str(row.choice.form.schedule),
                "partitions": list(row.choice.form.boundaries),
                "predicted": {"mean": row.choice.mean, "p95": row.choice.p95},
                "measured": row.measured,
            }
            for row in tuned.rows
        ],
        "curve": [
            {"boundary": choice.form.boundaries[0], "mean": choice.mean, "p95": choice.p95}
            for curve in tuned.curves[:1]
            for choice in curve
        ],
    }


def _print(tuned: Tuned) -> None:
    print(f"lengths: {tuned.lengths.mean:.1f} on average, at most {tuned.lengths.longest}, of {tuned.limit}")
    rows = [
        [
            str(row.choice.form),
            f"{row.choice.mean:.2f}",
            f"{row.choice.p95:.2f}",
            "" if row.measured is None else f"{row.measured:.2f}",
        ]
        for row in tuned.rows
    ]
    print_table(
        "ways to decode, in milliseconds or the unit of the costs",
        ["form", "predicted mean", "predicted p95", "measured mean"],
        rows,
    )
    if tuned.curves:
        _print_curve(tuned.curves[0])


def _print_curve(curve: Sequence[Choice]) -> None:
    """What two partitions cost, by where the first one ends, as bars."""
    print("two partitions, by the end of the first:")
    step = -(-len(curve) // _BARS)
    shown = curve[step - 1 :: step]
    most = max(choice.mean for choice in shown)
    for choice in shown:
        bar = "#" * max(1, round(_WIDTH * choice.mean / most)) if most else ""
        print(f"{choice.form.boundaries[0]:>6}  {bar} {choice.mean:.2f}")
    sys.stdout.flush()


COMMANDS = (tune_command, buckets_command)
