"""The flags that say how models are compiled: of `unspool compile`, and of each entry of a zoo, by the same names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from artifacts.errors import UsageError
from compiler.flags import neuron
from compiler.flags.converting import ConverterFlag, CustomOpsFlag

if TYPE_CHECKING:
    from compiler.options import CompileOptions

ScheduleFlag = Literal["auto", "single", "loop", "engine-loop", "unrolled", "partitioned"]
PrecisionFlag = Literal["auto", "fp32", "fp16", "bf16", "int8", "int8-weight", "int4-weight", "fp8"]
MethodFlag = Literal["min-max", "entropy", "percentile"]
CacheFlag = Literal["auto", "on", "off", "padded"]
EarlyFlag = Literal["true", "false", "never"]
WeightsFlag = Literal["auto", "prepacked", "mapped", "embedded", "refit", "stripped"]
CompatibilityFlag = Literal["none", "ampere-plus", "same-compute-capability"]
PaddingFlag = Literal["auto", "exact", "measured"]
StatusFlag = Literal["emitted", "hlo-verified", "built", "verified"]


def _decoding(*flags: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*flags, help=help, rich_help_panel="Decoding", **more)


def _shaping(*flags: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*flags, help=help, rich_help_panel="Shapes and samples", **more)


def _planning(*flags: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*flags, help=help, rich_help_panel="Plans for NVIDIA GPUs", **more)


AtolFlag = Annotated[float | None, typer.Option(min=0, help="Absolute tolerance against the source.")]
RtolFlag = Annotated[float | None, typer.Option(min=0, help="Relative tolerance against the source.")]


@dataclass(frozen=True, kw_only=True)
class CompileFlags:
    """What is said of a compilation, a field each flag, in the words of the command line."""

    target: Annotated[str, typer.Option(help="What to make engines for: see `unspool targets`.")] = "onnxruntime"
    precision: Annotated[PrecisionFlag, typer.Option(help="Element type to compute in.")] = "auto"
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SHARE",
            help="Of fewer bits: how far an output may move, as a share of its largest element. With --precision auto,"
            " layers keep float32 where 8 bits would move it further.",
        ),
    ] = None
    require: Annotated[StatusFlag | None, typer.Option(help="Fail if an engine reaches less than this.")] = None
    weights: Annotated[
        WeightsFlag | None,
        typer.Option(
            help="How engines take their weights: into packed copies, or as they lie in the bundle's files, which all"
            " processes share; auto measures both, and maps them where that is as fast. Of plans: inside them"
            " (embedded), replaced from the bundle's files (refit), or only there (stripped)."
        ),
    ] = None
    merge_casts: Annotated[
        bool,
        typer.Option(
            "--merge-casts",
            help="Of two weights that are equal after an exact cast, store the narrower one and cast it when an engine"
            " opens. Left out, they are only told.",
        ),
    ] = False
    skip_pass: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Leave out a pass that only makes engines faster or smaller; again for more. Of a bundle,"
            " `unspool inspect` lists the passes that ran.",
        ),
    ] = None
    atol: AtolFlag = None
    rtol: RtolFlag = None
    schedule: Annotated[
        ScheduleFlag, _decoding(help="Who loops over tokens; auto decodes if start and end tokens are known.")
    ] = "auto"
    cache: Annotated[CacheFlag, _decoding(help="Key/value cache; padded steps see all tokens at one length.")] = "auto"
    partitions: Annotated[str | None, _decoding(metavar="25,50,75", help="Positions at which partitions end.")] = None
    tune: Annotated[
        Path | None,
        _decoding(
            exists=True, dir_okay=False, metavar="LENGTHS.csv", help="Choose the schedule by lengths: see unspool tune."
        ),
    ] = None
    draft: Annotated[
        int | None,
        _decoding(
            min=0,
            metavar="N",
            help="Of an engine that loops: tokens to guess in 8 bits before a step checks them all at once. The tokens"
            " stay the same. 0 guesses none; left out, 5 are guessed where steps read 4 MiB of weights or more.",
        ),
    ] = None
    max_length: Annotated[int | None, _decoding(min=1, help="Most tokens to generate.")] = None
    bos: Annotated[int | None, _decoding(min=0, help="The decoder's start token.")] = None
    eos: Annotated[list[int] | None, _decoding(min=0, help="An end token; may be given several times.")] = None
    pad: Annotated[int | None, _decoding(min=0, help="The token that fills ended rows.")] = None
    beams: Annotated[int | None, _decoding(min=1, help="Beams to search with; 1 is greedy.")] = None
    length_penalty: Annotated[float | None, _decoding(help="Of beams: above 0 favours length.")] = None
    early_stopping: Annotated[EarlyFlag | None, _decoding(help="Of beams: when to look no further.")] = None
    decoder_input: Annotated[str | None, _decoding(metavar="NAME", help="The decoder's input of tokens.")] = None
    logits: Annotated[str | None, _decoding(metavar="NAME", help="The output that scores the next token.")] = None
    min_shapes: Annotated[
        list[str] | None,
        _shaping(metavar="ids:1x16,mask:1x16", help="Smallest input sizes; again for a further optimization profile."),
    ] = None
    opt_shapes: Annotated[
        list[str] | None,
        _shaping(metavar="ids:8x64,...", help="Usual input sizes; again for a further profile, or a further bucket."),
    ] = None
    max_shapes: Annotated[list[str] | None, _shaping(metavar="ids:32x512,...", help="Largest input sizes.")] = None
    buckets: Annotated[
        Path | None,
        _shaping(
            exists=True,
            dir_okay=False,
            metavar="SIZES.csv",
            help="Of a target whose engines take one size: choose the sizes by how often each is asked for. Read as the"
            " lengths of unspool tune; a heading says of which symbol.",
        ),
    ] = None
    bucketed: Annotated[
        list[str] | None, _shaping(metavar="SYMBOL|INPUT:AXIS", help="What the sizes of --buckets are of.")
    ] = None
    most_buckets: Annotated[int, _shaping(min=1, help="Most buckets to choose.")] = 4
    bucket_costs: Annotated[
        Path | None,
        _shaping(
            exists=True,
            dir_okay=False,
            metavar="COSTS.csv",
            help="What sizes cost, as measured: size,cost lines. Left out, a request costs its bucket's size.",
        ),
    ] = None
    padding: Annotated[
        PaddingFlag,
        _shaping(
            help="Of buckets: whether answers to padded requests have to be the source's (exact), or are measured and"
            " told; auto asks for exact ones where the model has a mask."
        ),
    ] = "auto"
    compute_capabilities: Annotated[
        str, _planning(metavar="8.6,8.9", help="NVIDIA GPUs that plans are built for: their compute capabilities.")
    ] = ""
    tf32: Annotated[
        bool, _planning("--tf32", help="Let products of float32 round what they take to 10 bits: faster, less exact.")
    ] = False
    optimization_level: Annotated[
        int | None, _planning(min=0, max=5, help="How hard the builder looks for fast kernels; the builder's own is 3.")
    ] = None
    version_compatible: Annotated[
        bool, _planning("--version-compatible", help="Later versions of the runtime load the plans as well.")
    ] = False
    hardware_compatibility: Annotated[
        CompatibilityFlag, _planning(help="GPUs that load the plans beside ones as they were built on.")
    ] = "none"
    neuron_target: neuron.NeuronTargetFlag = None
    model_type: neuron.ModelTypeFlag = None
    auto_cast: neuron.AutoCastFlag = None
    auto_cast_type: neuron.AutoCastTypeFlag = None
    optlevel: neuron.OptlevelFlag = None
    logical_nc_config: neuron.LogicalFlag = None
    fast_loading: neuron.FastLoadingFlag = None
    neuronx_cc_arg: neuron.FurtherFlag = None
    compiler_timeout: neuron.CompilerTimeoutFlag = None
    instances: neuron.InstancesFlag = None
    num_cores: neuron.NumCoresFlag = None
    visible_cores: neuron.VisibleCoresFlag = None
    exec_timeout: neuron.ExecTimeoutFlag = None
    shared_weights: neuron.SharedWeightsFlag = None
    loading: neuron.LoadingFlag = None
    neuron_tracer: neuron.TracerFlag = None
    inf1_pipeline_cores: neuron.PipelineCoresFlag = None
    inf1_dynamic_batch: neuron.DynamicBatchFlag = False
    inf1_no_fallback: neuron.NoFallbackFlag = False
    inf1_minimum_segment: neuron.MinimumSegmentFlag = 2
    inf1_fusion_ratio: neuron.FusionRatioFlag = 0.6
    inf1_separate_weights: neuron.SeparateWeightsFlag = False
    samples: Annotated[
        Path | None,
        _shaping(
            exists=True,
            dir_okay=False,
            metavar="IN.npz",
            help="Inputs by name to verify with, instead of drawn ones; outputs in it are taken for the truth.",
        ),
    ] = None
    calibration: Annotated[
        Path | None,
        _shaping(
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="Folder of .npz files, a request each, that --precision int8 and fp8 find their ranges from.",
        ),
    ] = None
    calibration_method: Annotated[MethodFlag, _shaping(help="How a range is found from the values seen.")] = "min-max"
    converter: ConverterFlag = "unspool"
    custom_ops: CustomOpsFlag = None

    def options(self) -> CompileOptions:
        """What the flags stand for. Raises UsageError for what cannot be read, or contradicts itself."""
        from artifacts.neuron_serving import NeuronServing
        from artifacts.plan_build import BuilderOptions, PlanWeights
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
                    ("--min-shapes", self.min_shapes),
                    ("--opt-shapes", self.opt_shapes),
                    ("--max-shapes", self.max_shapes),
                )
            )
        ) or (ShapeRanges(),)
        of_plans = self.weights in get_args(PlanWeights)
        return CompileOptions(
            target=self.target,
            schedule=ScheduleName(self.schedule),
            partitions=_partitions(self.partitions),
            tune=self.tune,
            cache=CacheMode(self.cache),
            tokens=TokenFlags(
                self.bos,
                tuple(self.eos) if self.eos else None,
                self.pad,
                self.max_length,
                self.beams,
                self.length_penalty,
                early_stopping_of(self.early_stopping),
            ),
            draft=self.draft,
            decoder_input=self.decoder_input,
            logits=self.logits,
            precision=Precision(self.precision),
            tolerance=self.tolerance,
            calibration=self.calibration,
            calibration_method=CalibrationMethod(self.calibration_method),
            min_shapes=first.min,
            opt_shapes=first.opt,
            max_shapes=first.max,
            further_ranges=tuple(further),
            buckets=self.buckets,
            bucketed=tuple(self.bucketed or ()),
            most_buckets=self.most_buckets,
            bucket_costs=self.bucket_costs,
            padding=PaddingName(self.padding),
            compute_capabilities=parse_capabilities(self.compute_capabilities),
            builder=BuilderOptions.model_validate(
                {
                    "weights": self.weights if of_plans else "embedded",
                    "tf32": self.tf32,
                    "optimization_level": self.optimization_level,
                    "version_compatible": self.version_compatible,
                    "hardware_compatibility": self.hardware_compatibility,
                }
            ),
            neuron=neuron_options(neuron.said(vars(self))),
            tracing=Tracing(
                tracer=self.neuron_tracer,
                inf1=Inf1Options(
                    pipeline_cores=self.inf1_pipeline_cores,
                    dynamic_batch=self.inf1_dynamic_batch,
                    fallback=not self.inf1_no_fallback,
                    minimum_segment=self.inf1_minimum_segment,
                    fusion_ratio=self.inf1_fusion_ratio,
                    separate_weights=self.inf1_separate_weights,
                ),
            ),
            samples=self.samples,
            atol=self.atol,
            rtol=self.rtol,
            require=self.require,
            weights=None if self.weights is None or of_plans else WeightsName(self.weights),
            merge_casts=self.merge_casts,
            skip_passes=tuple(self.skip_pass or ()),
            converter=ConverterName(self.converter),
            custom_ops=tuple(self.custom_ops or ()),
            serving=serving_of(
                NeuronServing(),
                instances=self.instances,
                num_cores=self.num_cores,
                visible_cores=cores_of("--visible-cores", self.visible_cores),
                exec_timeout=self.exec_timeout,
                shared_weights=self.shared_weights,
                loading=self.loading,
            ),
        )


def early_stopping_of(flag: EarlyFlag | None) -> bool | Literal["never"] | None:
    """The value that a flag stands for."""
    return flag if flag is None or flag == "never" else flag == "true"


def _partitions(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise UsageError.of("options", "--partitions", f"cannot read {text!r}", "write the positions, as 25,50,75")
    return tuple(int(position) for position in text.split(","))
