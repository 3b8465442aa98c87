"""What a target is: how engines are made for one kind of runtime.

A target is one module of this package with a constant `TARGET`, and one module of `artifacts/engines` that runs
what it makes. Targets never import each other; what two of them need lies in `compiler/`. Nothing here imports
torch: `unspool targets` must answer at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from artifacts.manifest import Build, Need, Scalar, Status, WeightAccess
from artifacts.neuron_options import NeuronOptions
from artifacts.plan_build import BuilderOptions
from artifacts.schedule import State
from artifacts.spec import Signature
from artifacts.weights import WeightRef
from compiler.neuron.tracing import Tracing
from compiler.options import Precision, ScheduleName
from compiler.shapes import ShapeRanges
from passes.codes import CodesName

if TYPE_CHECKING:
    from artifacts.shards import ShardIndex
    from artifacts.weights import WeightStore
    from passes.program import Function, Program

Translations = Mapping[Callable[..., Any], Callable[..., Any]]
"""How operators of torch are written in ONNX: a function of onnxscript by overload."""

Pair = tuple[State, ScheduleName]
"""What a step carries and who loops: the two independent choices of a decode."""


Tell = Callable[[str], None]
"""What is told to people who wait."""


def silent(_text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Availability:
    """Whether this machine has what a target needs, and what to do if not."""

    usable: bool
    version: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Placement:
    """Where an engine is put: the bundle's folder, the weights, and where each of them lies in the shards.

    `translations` says how operators of the user's own are written in ONNX, for targets whose engines begin as that.
    `lowered` is where a target keeps what it made of a function, for a further build of the same functions, and
    `translated` what torch.onnx did, for other targets too; None keeps nothing. `shapes` are the sizes of inputs that
    the user gave, a profile each, `capabilities` the GPUs to build for; () leaves that to the target. `builder` says
    how a builder of plans works, `neuron` how AWS Neuron's compiler does, and `seconds` how long an engine may take
    it; None leaves that to the target. `tracing` is who traces for Neuron devices. `tell` is called with what they
    are at.
    """

    root: Path
    weights: WeightStore
    shards: ShardIndex
    translations: Translations = field(default_factory=lambda: MappingProxyType({}))
    lowered: MutableMapping[Function, Any] = field(default_factory=dict)
    translated: MutableMapping[Function, Any] | None = None
    shapes: tuple[ShapeRanges, ...] = ()
    capabilities: tuple[str, ...] = ()
    builder: BuilderOptions = field(default_factory=BuilderOptions)
    neuron: NeuronOptions = field(default_factory=NeuronOptions)
    seconds: float | None = None
    tracing: Tracing = field(default_factory=Tracing)
    tell: Tell = silent


B = TypeVar("B", bound=Build)


@dataclass(frozen=True)
class PlanSource(Generic[B]):
    """One engine as the maker of its plan is handed it: its source file's bytes, and what that is told.

    `seconds` is how long making it may take, where a maker can be stopped; None leaves that to the maker.
    """

    data: bytes
    build: B
    seconds: float | None = None


@dataclass(frozen=True)
class Made:
    """How far an engine got: a plan of what a vendor's compiler made of its source, if one did, and its status.

    `suffix` is what a plan's file ends in. `weights` says how it can take its weights; the default is the fastest way.
    `layers` is the builder's own account of the plan's layers, a JSON document, if it gave one.
    """

    status: Status
    weights: WeightAccess
    plan: bytes | None = None
    suffix: str = ".plan"
    build: Build | None = None
    layers: str | None = None
    needs: tuple[Need, ...] = ()
    runs_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuiltEngine:
    """One engine of a target: the source file's bytes, what it takes and gives, what became of it, how to run it.

    `bindings`, `session` and `aliases` are those of `EngineEntry`. `files` are further ones that it comes with, by
    their paths in the bundle. `kind` is another than the target's, for an engine that another runtime runs.
    """

    source: bytes
    suffix: str
    signature: Signature
    made: Made
    bindings: Mapping[str, WeightRef] = field(default_factory=dict)
    session: Mapping[str, Scalar] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    kind: str | None = None


@dataclass(frozen=True)
class ModelEngines:
    """The engines of one model by name, and which of them hold each function of its schedule, in calling order.

    `notices` are what the user should know of how they were made; `takes` are the shapes of what a caller gives, of
    engines that take no others.
    """

    engines: Mapping[str, BuiltEngine]
    functions: Mapping[str, tuple[str, ...]]
    notices: tuple[str, ...] = ()
    takes: str = ""


@dataclass(frozen=True)
class Plans:
    """What became of the engines by name, and what the user should know of it."""

    engines: Mapping[str, Made]
    notices: tuple[str, ...] = ()


class Target(Protocol):
    """How to lower a Function and what the result can do."""

    name: ClassVar[str]
    kind: ClassVar[str]
    summary: ClassVar[str]
    decodes: ClassVar[tuple[Pair, ...]]
    """Pairs of state and control that it can do, its default first."""
    precisions: ClassVar[tuple[Precision, ...]]
    codes: ClassVar[CodesName]
    """What int8 with calibrated scales means to its runtime: codes around a zero that moves, uint8, or symmetric ones,
    int8."""
    row_scales: ClassVar[bool]
    """Whether its engines may find the scales of 8-bit values as they run, for each row; if not, int8 needs requests
    to calibrate on."""
    capabilities: ClassVar[tuple[str, ...]]
    """Compute capabilities of GPUs that it can build for, sm89 for 8.9; () for a target that is for none."""
    default_capabilities: ClassVar[tuple[str, ...]]
    """Those that it builds for if nobody says; () leaves it to the GPU that it builds on."""
    builder_options: ClassVar[tuple[str, ...]]
    """The fields of `BuilderOptions` that mean something to its builder; () for a target that makes no plans."""
    neuron_options: ClassVar[tuple[str, ...]]
    """The fields of `NeuronOptions` that mean something to it; () for a target that calls no compiler of AWS
    Neuron's."""
    static_shapes: ClassVar[bool]
    """Whether its engines take inputs of one shape only: those of the first sample, which --opt-shapes chooses. With
    several --opt-shapes, or --buckets, there are engines for each."""
    neuron_cores: ClassVar[bool]
    """Whether its engines run on NeuronCores: `NeuronServing` says then how they are served."""
    fusions: ClassVar[tuple[str, ...]]
    """Names of the passes that make operations which its engines run as one; they come after all that are for any
    target."""
    late_fusions: ClassVar[tuple[str, ...]]
    """The same, of those that want to know which products are still in float32: they come last."""

    def availability(self) -> Availability:
        """Whether the target's tools are on this machine. Cheap: nothing heavy is imported."""

    def tools(self) -> Mapping[str, str]:
        """Names and versions of the tools that decide what an engine looks like."""

    def stored(self, refs: Sequence[WeightRef]) -> list[WeightRef]:
        """The weights among these that its engines want in the bundle's shards, by offset; the rest go inside."""

    def build(self, program: Program, model: str, placement: Placement) -> ModelEngines:
        """Make the engines that a model's schedule needs. Raises TargetError."""


@runtime_checkable
class PlanMaker(Target, Protocol[B]):
    """A target that makes plans of engines' sources, of which a bundle holds all that it takes."""

    def builder(self) -> Availability:
        """Whether this machine can make plans of sources, which may take other tools than making the sources."""

    def builder_tools(self) -> Mapping[str, str]:
        """Names and versions of the tools that decide what a plan of a source looks like."""

    def plans(self, sources: Mapping[str, PlanSource[B]], root: Path, tell: Tell = silent) -> Plans:
        """Make plans of engines' sources, by name; weights are named from the folder `root`.

        `tell` is called with what a builder is at. Raises TargetError with every node that a builder refuses, of all
        engines at once, and if there is nothing that could.
        """
