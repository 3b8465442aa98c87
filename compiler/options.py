"""What a compilation is asked to do. No torch here: the command line reads these types."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from artifacts.manifest import Status
from artifacts.neuron_options import NeuronOptions
from artifacts.neuron_serving import NeuronServing
from artifacts.plan_build import BuilderOptions
from compiler.generation import TokenFlags
from compiler.neuron.tracing import Tracing
from compiler.shapes import ShapeRanges, Shapes


class ScheduleName(StrEnum):
    """Who loops, in the words of the command line."""

    AUTO = "auto"
    SINGLE = "single"
    LOOP = "loop"
    ENGINE_LOOP = "engine-loop"
    UNROLLED = "unrolled"
    PARTITIONED = "partitioned"


class Existing(StrEnum):
    """What becomes of a bundle that is at the destination: one of the same inputs is kept, unless it is made anew."""

    KEEP = "keep"
    """One of other inputs is an error."""
    REPLACE = "replace"
    """One of other inputs is replaced."""
    REMAKE = "remake"
    """Any is replaced."""


class CacheMode(StrEnum):
    """What a step carries: a key/value cache, all tokens so far, or those padded to one length."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"
    PADDED = "padded"


class Precision(StrEnum):
    """Element types that an engine computes in."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    INT8_WEIGHT = "int8-weight"
    INT4_WEIGHT = "int4-weight"
    FP8 = "fp8"


class WeightsName(StrEnum):
    """How engines take their weights when a bundle is opened; auto measures it."""

    AUTO = "auto"
    PREPACKED = "prepacked"
    MAPPED = "mapped"


class PaddingName(StrEnum):
    """What is asked of answers to padded requests: auto asks of a model that has a mask that they are exact."""

    AUTO = "auto"
    EXACT = "exact"
    MEASURED = "measured"


class CalibrationMethod(StrEnum):
    """How the range that 8 bits stand for is found from the values that were seen."""

    MIN_MAX = "min-max"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"


class ConverterName(StrEnum):
    """Who turns ONNX into PyTorch: Unspool, or another converter as a second opinion."""

    UNSPOOL = "unspool"
    ONNX2TORCH = "onnx2torch"


@dataclass(frozen=True)
class FurtherParts:
    """What lies around the decoder of a model in parts: its encoder and, as a check, its step with a cache."""

    encoder: Path
    decoder_with_past: Path | None = None


@dataclass(frozen=True)
class ModelFile:
    """A model to compile and the name that it goes by in the bundle.

    Of a model in parts, `path` is the decoder, which gives the scores and beside which the generation settings lie.
    """

    name: str
    path: Path
    parts: FurtherParts | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The model's files, the decoder's first."""
        further = () if self.parts is None else (self.parts.encoder, self.parts.decoder_with_past)
        return (self.path, *(path for path in further if path is not None))


@dataclass(frozen=True)
class CompileOptions:
    """Everything that can change what a compilation makes. Paths of outputs are not among them.

    `weights` None leaves it to the target how its engines take their weights; with `merge_casts` one of two that are
    equal after an exact cast is stored. `skip_passes` are left out, of those that only make things faster or smaller.
    `draft` is how many tokens are guessed at a time, 0 for none; None leaves it to the target.
    `tune` is a file of lengths, by which the schedule and its partitions are chosen; `calibration` a folder of
    requests, by which the scales of 8-bit values are. `tolerance` is the share of an output's largest element that
    computing in fewer bits may change its elements by. `further_ranges` are the sizes of further optimization
    profiles, or buckets: the first one's are `min_shapes`, `opt_shapes` and `max_shapes`. `buckets` is a file of
    sizes by which at most `most_buckets` are chosen, of what `bucketed` names, symbols or INPUT:AXIS, or the file's
    heading; `bucket_costs` is a file of what sizes cost. `neuron` is what AWS Neuron's compiler is told; the fields
    that were set in it are those that the user gave. `serving` decides nothing of what is made, only what the
    manifest says to a server.
    """

    target: str = "onnxruntime"
    schedule: ScheduleName = ScheduleName.AUTO
    partitions: tuple[int, ...] = ()
    tune: Path | None = None
    cache: CacheMode = CacheMode.AUTO
    tokens: TokenFlags = field(default_factory=TokenFlags)
    draft: int | None = None
    decoder_input: str | None = None
    logits: str | None = None
    precision: Precision = Precision.AUTO
    tolerance: float | None = None
    calibration: Path | None = None
    calibration_method: CalibrationMethod = CalibrationMethod.MIN_MAX
    min_shapes: Shapes = ()
    opt_shapes: Shapes = ()
    max_shapes: Shapes = ()
    further_ranges: tuple[ShapeRanges, ...] = ()
    buckets: Path | None = None
    bucketed: tuple[str, ...] = ()
    most_buckets: int = 4
    bucket_costs: Path | None = None
    padding: PaddingName = PaddingName.AUTO
    compute_capabilities: tuple[str, ...] = ()
    builder: BuilderOptions = field(default_factory=BuilderOptions)
    neuron: NeuronOptions = field(default_factory=NeuronOptions)
    tracing: Tracing = field(default_factory=Tracing)
    samples: Path | None = None
    atol: float | None = None
    rtol: float | None = None
    require: Status | None = None
    weights: WeightsName | None = None
    merge_casts: bool = False
    skip_passes: tuple[str, ...] = ()
    converter: ConverterName = ConverterName.UNSPOOL
    custom_ops: tuple[str, ...] = ()
    serving: NeuronServing = field(default_factory=NeuronServing)

    @property
    def in_float32(self) -> bool:
        """Whether nothing shall compute in fewer bits than the source."""
        return self.precision is Precision.FP32 or (self.precision is Precision.AUTO and self.tolerance is None)

    @property
    def ranges(self) -> tuple[ShapeRanges, ...]:
        """The sizes of each optimization profile, one at least."""
        return (ShapeRanges(self.min_shapes, self.opt_shapes, self.max_shapes), *self.further_ranges)
