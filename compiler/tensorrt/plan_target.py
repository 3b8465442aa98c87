"""What the targets have in common whose engines are plans of NVIDIA's builders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar

from artifacts.plan_build import PlanBuild
from compiler.options import Precision, ScheduleName
from compiler.targets.target import Availability, ModelEngines, Pair, Placement, Plans, PlanSource, Tell, silent
from passes.codes import CodesName

if TYPE_CHECKING:
    from pathlib import Path

    from artifacts.weights import WeightRef
    from passes.program import Program

INLINE_BYTES = 512
"""Weights up to this size stay inside the graph: a builder wants to see shapes and axes there."""


class PlanTarget(ABC):
    """Engines whose sources are ONNX without operators of any runtime's own, and whose plans hold their weights."""

    decodes: ClassVar[tuple[Pair, ...]] = (
        ("cached", ScheduleName.LOOP),
        ("cached", ScheduleName.PARTITIONED),
        ("cached", ScheduleName.UNROLLED),
        ("recompute", ScheduleName.LOOP),
        ("padded", ScheduleName.ENGINE_LOOP),
    )
    precisions: ClassVar[tuple[Precision, ...]] = (
        Precision.FP32,
        Precision.FP16,
        Precision.BF16,
        Precision.INT8,
        Precision.FP8,
    )
    codes: ClassVar[CodesName] = "int8"
    row_scales: ClassVar[bool] = False
    default_capabilities: ClassVar[tuple[str, ...]] = ()
    neuron_options: ClassVar[tuple[str, ...]] = ()
    static_shapes: ClassVar[bool] = False
    neuron_cores: ClassVar[bool] = False
    fusions: ClassVar[tuple[str, ...]] = ("fold-scales",)
    late_fusions: ClassVar[tuple[str, ...]] = ()

    def tools(self) -> Mapping[str, str]:
        """The packages whose version decides what is in an engine."""
        emitters = {name: metadata.version(name) for name in ("onnx-ir", "onnxscript", "torch")}
        return {**emitters, **self.builder_tools()}

    @abstractmethod
    def availability(self) -> Availability:
        """See `Target.availability`."""

    def builder(self) -> Availability:
        """What makes the sources makes plans of them as well."""
        return self.availability()

    @abstractmethod
    def builder_tools(self) -> Mapping[str, str]:
        """See `PlanMaker.builder_tools`."""

    def stored(self, refs: Sequence[WeightRef]) -> list[WeightRef]:
        """All but the small ones, which the graphs hold."""
        return [ref for ref in refs if ref.nbytes > INLINE_BYTES]

    def build(self, program: Program, model: str, placement: Placement) -> ModelEngines:
        """Emit functions as ONNX, or the decode that they make if engines loop, and make plans of what is emitted.

        Raises TargetError with every symbol without sizes and every type that a GPU lacks, of all engines at once, and
        as `plans` does.
        """
        from compiler.targets.target import BuiltEngine
        from compiler.tensorrt.plan_sources import plan_sources

        capabilities = placement.capabilities or self.default_capabilities
        sources, builds = plan_sources(program, model, placement, capabilities, inline_bytes=INLINE_BYTES)
        handed = {name: PlanSource(source.data, builds[name]) for name, source in sources.engines.items()}
        made = self.plans(handed, placement.root, placement.tell)
        engines = {
            name: BuiltEngine(source.data, ".onnx", source.signature, made.engines[name], source.bindings)
            for name, source in sources.engines.items()
        }
        return ModelEngines(engines, sources.functions, made.notices)

    @abstractmethod
    def plans(self, sources: Mapping[str, PlanSource[PlanBuild]], root: Path, tell: Tell = silent) -> Plans:
        """See `PlanMaker.plans`."""
