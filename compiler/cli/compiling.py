"""`unspool compile` and `unspool convert`: from model files."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from artifacts.errors import UsageError
from compiler.cli import neuron
from compiler.cli.converting import ConverterFlag, CustomOpsFlag
from compiler.cli.engines import engines_document, print_engines
from compiler.cli.output import JsonFlag, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compiler.compile import Compiled
    from compiler.options import ModelFile

ScheduleFlag = Literal["auto", "single", "loop", "engine-loop", "unrolled", "partitioned"]
PrecisionFlag = Literal["auto", "fp32", "fp16", "bf16", "int8", "int8-weight", "int4-weight", "fp8"]
MethodFlag = Literal["min-max", "entropy", "percentile"]
CacheFlag = Literal["auto", "on", "off", "padded"]
EarlyFlag = Literal["true", "false", "never"]
WeightsFlag = Literal["auto", "prepacked", "mapped", "embedded", "refit", "stripped"]
CompatibilityFlag = Literal["none", "ampere-plus", "same-compute-capability"]
PaddingFlag = Literal["auto", "exact", "measured"]
StatusFlag = Literal["emitted", "hlo-verified", "built", "verified"]

_NAME = re.compile(r"^(?P<name>[A-Za-z0-9_][A-Za-z0-9_.+-]*)=(?P<path>.+)$")


def _decoding(*flags: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*flags, help=help, rich_help_panel="Decoding", **more)


def _shaping(*flags: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*flags, help=help, rich_help_panel="Shapes and samples", **more)


def _planning(*flags: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*flags, help=help, rich_help_panel="Plans for NVIDIA GPUs", **more)


AtolFlag = Annotated[float | None, typer.Option(min=0, help="Absolute tolerance against the source.")]
RtolFlag = Annotated[float | None, typer.Option(min=0, help="Relative tolerance against the source.")]


def compile_command(  # noqa: PLR0913, PLR0917 - one parameter a flag
    output: Annotated[Path, typer.Option("-o", "--output", metavar="BUNDLE", help="Folder to make.")],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]MODEL.onnx|FOLDER...",
            help="Models to compile into one bundle; a folder holds the parts of one.",
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=FILE.onnx",
            help="A part of one model: encoder, decoder, decoder-with-past. Give each with a --part of its own.",
        ),
    ] = None,
    target: Annotated[str, typer.Option(help="What to make engines for: see `unspool targets`.")] = "onnxruntime",
    precision: Annotated[PrecisionFlag, typer.Option(help="Element type to compute in.")] = "auto",
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SHARE",
            help="Of fewer bits: how far an output may move, as a share of its largest element. With --precision auto,"
            " layers keep float32 where 8 bits would move it further.",
        ),
    ] = None,
    require: Annotated[StatusFlag | None, typer.Option(help="Fail if an engine reaches less than this.")] = None,
    weights: Annotated[
        WeightsFlag | None,
        typer.Option(
            help="How engines take their weights: into packed copies, or as they lie in the bundle's files, which all"
            " processes share; auto measures both, and maps them where that is as fast. Of plans: inside them"
            " (embedded), replaced from the bundle's files (refit), or only there (stripped)."
        ),
    ] = None,
    merge_casts: Annotated[
        bool,
        typer.Option(
            "--merge-casts",
            help="Of two weights that are equal after an exact cast, store the narrower one and cast it when an engine"
            " opens. Left out, they are only told.",
        ),
    ] = False,
    atol: AtolFlag = None,
    rtol: RtolFlag = None,
    force: Annotated[bool, typer.Option("--force", help="Build again and replace the bundle that is there.")] = False,
    depfile: Annotated[Path | None, typer.Option(metavar="FILE.d", help="Write a make rule of what was read.")] = None,
    store: Annotated[
        str | None,
        typer.Option(metavar="STORE", envvar="UNSPOOL_STORE", help="Share weights through this folder or URL."),
    ] = None,
    json: JsonFlag = False,
    schedule: Annotated[
        ScheduleFlag, _decoding(help="Who loops over tokens; auto decodes if start and end tokens are known.")
    ] = "auto",
    cache: Annotated[CacheFlag, _decoding(help="Key/value cache; padded steps see all tokens at one length.")] = "auto",
    partitions: Annotated[str | None, _decoding(metavar="25,50,75", help="Positions at which partitions end.")] = None,
    tune: Annotated[
        Path | None,
        _decoding(
            exists=True, dir_okay=False, metavar="LENGTHS.csv", help="Choose the schedule by lengths: see unspool tune."
        ),
    ] = None,
    max_length: Annotated[int | None, _decoding(min=1, help="Most tokens to generate.")] = None,
    bos: Annotated[int | None, _decoding(min=0, help="The decoder's start token.")] = None,
    eos: Annotated[list[int] | None, _decoding(min=0, help="An end token; may be given several times.")] = None,
    pad: Annotated[int | None, _decoding(min=0, help="The token that fills ended rows.")] = None,
    beams: Annotated[int | None, _decoding(min=1, help="Beams to search with; 1 is greedy.")] = None,
    length_penalty: Annotated[float | None, _decoding(help="Of beams: above 0 favours length.")] = None,
    early_stopping: Annotated[EarlyFlag | None, _decoding(help="Of beams: when to look no further.")] = None,
    decoder_input: Annotated[str | None, _decoding(metavar="NAME", help="The decoder's input of tokens.")] = None,
    logits: Annotated[str | None, _decoding(metavar="NAME", help="The output that scores the next token.")] = None,
    min_shapes: Annotated[
        list[str] | None,
        _shaping(metavar="ids:1x16,mask:1x16", help="Smallest input sizes; again for a further optimization profile."),
    ] = None,
    opt_shapes: Annotated[
        list[str] | None,
        _shaping(metavar="ids:8x64,...", help="Usual input sizes; again for a further profile, or a further bucket."),
    ] = None,
    max_shapes: Annotated[list[str] | None, _shaping(metavar="ids:32x512,...", help="Largest input sizes.")] = None,
    buckets: Annotated[
        Path | None,
        _shaping(
            exists=True,
            dir_okay=False,
            metavar="SIZES.csv",
            help="Of a target whose engines take one size: choose the sizes by how often each is asked for. Read as the"
            " lengths of unspool tune; a heading says of which symbol.",
        ),
    ] = None,
    bucketed: Annotated[
        list[str] | None, _shaping(metavar="SYMBOL|INPUT:AXIS", help="What the sizes of --buckets are of.")
    ] = None,
    most_buckets: Annotated[int, _shaping(min=1, help="Most buckets to choose.")] = 4,
    bucket_costs: Annotated[
        Path | None,
        _shaping(
            exists=True,
            dir_okay=False,
            metavar="COSTS.csv",
            help="What sizes cost, as measured: size,cost lines. Left out, a request costs its bucket's size.",
        ),
    ] = None,
    padding: Annotated[
        PaddingFlag,
        _shaping(
            help="Of buckets: whether answers to padded requests have to be the source's (exact), or are measured and"
            " told; auto asks for exact ones where the model has a mask."
        ),
    ] = "auto",
    compute_capabilities: Annotated[
        str, _planning(metavar="8.6,8.9", help="NVIDIA GPUs that plans are built for: their compute capabilities.")
    ] = "",
    tf32: Annotated[
        bool, _planning("--tf32", help="Let products of float32 round what they take to 10 bits: faster, less exact.")
    ] = False,
    optimization_level: Annotated[
        int | None, _planning(min=0, max=5, help="How hard the builder looks for fast kernels; the builder's own is 3.")
    ] = None,
    version_compatible: Annotated[
        bool, _planning("--version-compatible", help="Later versions of the runtime load the plans as well.")
    ] = False,
    hardware_compatibility: Annotated[
        CompatibilityFlag, _planning(help="GPUs that load the plans beside ones as they were built on.")
    ] = "none",
    neuron_target: neuron.NeuronTargetFlag = None,
    model_type: neuron.ModelTypeFlag = None,
    auto_cast: neuron.AutoCastFlag = None,
    auto_cast_type: neuron.AutoCastTypeFlag = None,
    optlevel: neuron.OptlevelFlag = None,
    logical_nc_config: neuron.LogicalFlag = None,
    fast_loading: neuron.FastLoadingFlag = None,
    neuronx_cc_arg: neuron.FurtherFlag = None,
    compiler_timeout: neuron.CompilerTimeoutFlag = None,
    instances: neuron.InstancesFlag = None,
    num_cores: neuron.NumCoresFlag = None,
    visible_cores: neuron.VisibleCoresFlag = None,
    exec_timeout: neuron.ExecTimeoutFlag = None,
    shared_weights: neuron.SharedWeightsFlag = None,
    loading: neuron.LoadingFlag = None,
    neuron_tracer: neuron.TracerFlag = None,
    inf1_pipeline_cores: neuron.PipelineCoresFlag = None,
    inf1_dynamic_batch: neuron.DynamicBatchFlag = False,
    inf1_no_fallback: neuron.NoFallbackFlag = False,
    inf1_minimum_segment: neuron.MinimumSegmentFlag = 2,
    inf1_fusion_ratio: neuron.FusionRatioFlag = 0.6,
    inf1_separate_weights: neuron.SeparateWeightsFlag = False,
    samples: Annotated[
        Path | None,
        _shaping(
            exists=True,
            dir_okay=False,
            metavar="IN.npz",
            help="Inputs by name to verify with, instead of drawn ones; outputs in it are taken for the truth.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        _shaping(
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="Folder of .npz files, a request each, that --precision int8 and fp8 find their ranges from.",
        ),
    ] = None,
    calibration_method: Annotated[MethodFlag, _shaping(help="How a range is found from the values seen.")] = "min-max",
    converter: ConverterFlag = "unspool",
    custom_ops: CustomOpsFlag = None,
) -> None:
    """Compile models into a bundle that is verified against them.

    unspool compile model.onnx -o build/model

    unspool compile text=spam.onnx image=nsfw.onnx -o build/moderation

    unspool compile ocr.onnx --bos 1 --eos 2 --pad 0 --max-length 75 -o build/ocr

    unspool compile --part encoder=encoder.onnx --part decoder=decoder.onnx -o build/model

    unspool compile ocr.onnx --bos 1 --eos 2 --partitions 25,50,75 -o build/ocr

    unspool compile ocr.onnx --bos 1 --eos 2 --tune lengths.csv -o build/ocr

    unspool compile translate.onnx --bos 1 --eos 2 --precision int8 -o build/translate-int8

    unspool compile classify.onnx --precision auto --tolerance 0.01 -o build/classify

    unspool compile summarize.onnx --schedule loop --beams 4 --length-penalty 2 -o build/summarize

    unspool compile spam.onnx -o zoo/spam --store zoo/store

    unspool compile bert.onnx --target tensorrt-rtx --compute-capabilities 8.6,8.9 --min-shapes ids:1x8,mask:1x8
    --opt-shapes ids:8x64,mask:8x64 --max-shapes ids:32x512,mask:32x512 -o build/bert

    unspool compile bert.onnx --target neuronx --opt-shapes ids:2x16 --neuron-target trn1 --model-type transformer
    -o build/bert-neuron

    unspool compile bert.onnx --target neuronx --opt-shapes ids:1x16,mask:1x16 --opt-shapes ids:1x64,mask:1x64
    -o build/bert-neuron

    Compiling again onto the same bundle does nothing if nothing changed.

    In make, name BUNDLE/manifest.json as the target.
    """
    from artifacts.neuron_serving import NeuronServing
    from artifacts.plan_build import BuilderOptions, PlanWeights
    from compiler.build_log import BuildLog
    from compiler.compile import compile_bundle
    from compiler.generation import TokenFlags
    from compiler.neuron.inf1_settings import Inf1Options
    from compiler.neuron.tracing import Tracing
    from compiler.neuron_flags import neuron_options
    from compiler.options import (
        CacheMode,
        CalibrationMethod,
        CompileOptions,
        ConverterName,
        PaddingName,
        Precision,
        ScheduleName,
        WeightsName,
    )
    from compiler.serving import cores_of, serving_of
    from compiler.shapes import ShapeRanges, paired, parse_shapes
    from compiler.tensorrt.capabilities import parse_capabilities

    first, *further = paired(
        *(
            [parse_shapes(text, flag) for text in given or ()]
            for flag, given in (
                ("--min-shapes", min_shapes),
                ("--opt-shapes", opt_shapes),
                ("--max-shapes", max_shapes),
            )
        )
    ) or (ShapeRanges(),)
    of_plans = weights in get_args(PlanWeights)
    options = CompileOptions(
        target=target,
        schedule=ScheduleName(schedule),
        partitions=_partitions(partitions),
        tune=tune,
        cache=CacheMode(cache),
        tokens=TokenFlags(
            bos, tuple(eos) if eos else None, pad, max_length, beams, length_penalty, early_stopping_of(early_stopping)
        ),
        decoder_input=decoder_input,
        logits=logits,
        precision=Precision(precision),
        tolerance=tolerance,
        calibration=calibration,
        calibration_method=CalibrationMethod(calibration_method),
        min_shapes=first.min,
        opt_shapes=first.opt,
        max_shapes=first.max,
        further_ranges=tuple(further),
        buckets=buckets,
        bucketed=tuple(bucketed or ()),
        most_buckets=most_buckets,
        bucket_costs=bucket_costs,
        padding=PaddingName(padding),
        compute_capabilities=parse_capabilities(compute_capabilities),
        builder=BuilderOptions.model_validate(
            {
                "weights": weights if of_plans else "embedded",
                "tf32": tf32,
                "optimization_level": optimization_level,
                "version_compatible": version_compatible,
                "hardware_compatibility": hardware_compatibility,
            }
        ),
        neuron=neuron_options(neuron.said(locals())),
        tracing=Tracing(
            tracer=neuron_tracer,
            inf1=Inf1Options(
                pipeline_cores=inf1_pipeline_cores,
                dynamic_batch=inf1_dynamic_batch,
                fallback=not inf1_no_fallback,
                minimum_segment=inf1_minimum_segment,
                fusion_ratio=inf1_fusion_ratio,
                separate_weights=inf1_separate_weights,
            ),
        ),
        samples=samples,
        atol=atol,
        rtol=rtol,
        require=require,
        weights=None if weights is None or of_plans else WeightsName(weights),
        merge_casts=merge_casts,
        converter=ConverterName(converter),
        custom_ops=tuple(custom_ops or ()),
        serving=serving_of(
            NeuronServing(),
            instances=instances,
            num_cores=num_cores,
            visible_cores=cores_of("--visible-cores", visible_cores),
            exec_timeout=exec_timeout,
            shared_weights=shared_weights,
            loading=loading,
        ),
    )
    files = _model_files(models or [], part or [])
    log = BuildLog()
    with log.interrupts.listening():
        compiled = compile_bundle(files, output, options, force=force, store=store, seconds=compiler_timeout, log=log)
    if depfile is not None:
        from compiler.depfile import write_depfile

        write_depfile(depfile, output, compiled.files, options)
    if json:
        print_json(_document(compiled))
    else:
        _print(compiled, log.notices)


def convert_command(  # noqa: PLR0913, PLR0917 - one parameter a flag
    model: Annotated[str, typer.Argument(metavar="MODEL.onnx", help="The model to convert.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL.pt2", help="File to write.")],
    opt_shapes: Annotated[
        str, typer.Option(metavar="ids:8x64,...", help="Input sizes to trace with, 2 or more each.")
    ] = "",
    samples: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="IN.npz", help="Inputs by name to trace and verify with."),
    ] = None,
    converter: ConverterFlag = "unspool",
    custom_ops: CustomOpsFlag = None,
    atol: AtolFlag = None,
    rtol: RtolFlag = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Convert an ONNX model to PyTorch and no further: a torch.export program, verified against the source.

    unspool convert model.onnx -o model.pt2

    python -c "import torch; print(torch.export.load('model.pt2'))"
    """
    from compiler.build_log import BuildLog
    from compiler.convert import convert_to_file
    from compiler.options import CompileOptions, ConverterName
    from compiler.shapes import parse_shapes

    options = CompileOptions(
        opt_shapes=parse_shapes(opt_shapes, "--opt-shapes"),
        samples=samples,
        atol=atol,
        rtol=rtol,
        converter=ConverterName(converter),
        custom_ops=tuple(custom_ops or ()),
    )
    log = BuildLog()
    with log.interrupts.listening():
        signature, worst = convert_to_file(model_file(model), output, options, force=force, log=log)
    for notice in log.notices:
        print(f"note: {notice}", file=sys.stderr)
    if json:
        print_json({"output": str(output), "signature": signature.model_dump(mode="json"), "max_abs": worst})
    else:
        print(f"{output}: {signature}\nlargest difference from the source: {worst:.3g}")


COMMANDS = (compile_command, convert_command)


def model_file(text: str) -> ModelFile:
    """`NAME=PATH`, or a path whose stem becomes the name with what a name may not hold replaced by `_`.

    The path is that of a file, or of the folder in which one model's parts lie.
    """
    from compiler.parts.folder import model_at

    named = _NAME.match(text)
    if named and not Path(text).exists():
        name, path = named["name"], Path(named["path"])
    else:
        path = Path(text)
        stem = path.resolve().name if path.is_dir() else path.stem
        name = re.sub(r"[^A-Za-z0-9_.+-]", "_", stem).lstrip(".+-") or "model"
    return model_at(name, path)


def _model_files(models: list[str], parts: list[str]) -> list[ModelFile]:
    from compiler.parts.folder import model_of_parts

    if not models and not parts:
        hint = "name a file, a folder, or parts with --part"
        raise UsageError.of("options", "MODEL.onnx", "is missing: there is nothing to compile", hint)
    return [*map(model_file, models), *([model_of_parts("model", parts)] if parts else [])]


def early_stopping_of(flag: EarlyFlag | None) -> bool | Literal["never"] | None:
    """The value that a flag stands for."""
    return flag if flag is None or flag == "never" else flag == "true"


def _partitions(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise UsageError.of("options", "--partitions", f"cannot read {text!r}", "write the positions, as 25,50,75")
    return tuple(int(position) for position in text.split(","))


def _result(compiled: Compiled) -> str:
    if compiled.up_to_date:
        return "settings changed" if compiled.served_anew else "up to date"
    return "compiled"


def _document(compiled: Compiled) -> dict[str, object]:
    manifest = compiled.bundle.manifest
    return {
        "result": _result(compiled),
        "bundle": str(compiled.bundle.root),
        "models": {name: entry.schedule.model_dump(mode="json") for name, entry in manifest.models.items()},
        "engines": engines_document(manifest),
        "report": compiled.report.model_dump(mode="json"),
    }


def _print(compiled: Compiled, notices: Sequence[str]) -> None:
    manifest = compiled.bundle.manifest
    root = compiled.bundle.root
    for notice in notices:
        print(f"note: {notice}", file=sys.stderr)
    if compiled.up_to_date:
        print(f"{root}: {_result(compiled)}")
        return
    for name, entry in manifest.models.items():
        worst = max((n.max_abs or 0.0 for n in compiled.report.numerics if n.model == name), default=0.0)
        print(f"{name}: {entry.schedule.kind}, largest difference from the source {worst:.3g}")
    print_engines(manifest)
    size = sum(file.bytes for file in manifest.files.values())
    print(f"{root}: {size / 1e6:.1f} MB in {compiled.report.seconds:.1f} s")
