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
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from artifacts.manifest import Need, Scalar, Status, WeightAccess
from artifacts.schedule import State
from artifacts.spec import Signature
from artifacts.weights import WeightRef
from compiler.options import Precision, ScheduleName
from compiler.shapes import ShapeRanges

if TYPE_CHECKING:
    from artifacts.shards import ShardIndex
    from artifacts.weights import WeightStore
    from passes.program import Function, Program

Translations = Mapping[Callable[..., Any], Callable[..., Any]]
"""How operators of torch are written in ONNX: a function of onnxscript by overload."""

Pair = tuple[State, ScheduleName]
"""What a step carries and who loops: the two independent choices of a decode."""


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
    `lowered` is where a target keeps what it made of a function, for a further build of the same functions. `shapes`
    are the sizes of inputs that the user gave, `capabilities` the GPUs to build for; () leaves that to the target.
    """

    root: Path
    weights: WeightStore
    shards: ShardIndex
    translations: Translations = field(default_factory=lambda: MappingProxyType({}))
    lowered: MutableMapping[Function, Any] = field(default_factory=dict)
    shapes: ShapeRanges = field(default_factory=ShapeRanges)
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuiltEngine:
    """One engine that a target made: the source file's bytes, what it takes and gives, and how to run it.

    `plan` is what a vendor's compiler made of the source, if one did.

    `weights` says how it can take its weights; the default is the fastest way.
    """

    source: bytes
    suffix: str
    signature: Signature
    status: Status
    weights: WeightAccess
    bindings: Mapping[str, WeightRef] = field(default_factory=dict)
    session: Mapping[str, Scalar] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()
    runs_on: tuple[str, ...] = ()
    plan: bytes | None = None


@dataclass(frozen=True)
class ModelEngines:
    """The engines of one model by name, and which of them hold each function of its schedule, in calling order."""

    engines: Mapping[str, BuiltEngine]
    functions: Mapping[str, tuple[str, ...]]


class Target(Protocol):
    """How to lower a Function and what the result can do."""

    name: ClassVar[str]
    kind: ClassVar[str]
    summary: ClassVar[str]
    decodes: ClassVar[tuple[Pair, ...]]
    """Pairs of state and control that it can do, its default first."""
    precisions: ClassVar[tuple[Precision, ...]]
    capabilities: ClassVar[tuple[str, ...]]
    """Compute capabilities of GPUs that it can build for, sm89 for 8.9; () for a target that is for none."""
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
