"""TensorRT-RTX: plans for NVIDIA GPUs, which its builder makes without one.

A plan holds its weights. The graph that it was built from stays in the bundle, and is what the numbers are checked on,
in ONNX Runtime: nothing but such a GPU can run the plan itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar

from artifacts.manifest import Need, WeightAccess
from artifacts.tensorrt_plan import CAPABILITY_BITS, number_of
from compiler.options import Precision, ScheduleName
from compiler.targets.target import Availability, BuiltEngine, ModelEngines, Pair, Placement
from compiler.tensorrt.capabilities import DEFAULT, type_problems

if TYPE_CHECKING:
    from artifacts.weights import WeightRef
    from compiler.onnx_engines import OnnxSource
    from passes.program import Program

INLINE_BYTES = 512
"""Weights up to this size stay inside the graph: the builder wants to see shapes and axes there."""

_HELD = "all weights: they are inside the plan, and each process has them on the GPU for itself"


class TensorRtRtxTarget:
    """Engines of the kind `tensorrt-rtx`."""

    name: ClassVar[str] = "tensorrt-rtx"
    kind: ClassVar[str] = "tensorrt-rtx"
    summary: ClassVar[str] = "TensorRT-RTX for NVIDIA GPUs; builds without one"
    decodes: ClassVar[tuple[Pair, ...]] = (
        ("cached", ScheduleName.LOOP),
        ("cached", ScheduleName.PARTITIONED),
        ("cached", ScheduleName.UNROLLED),
        ("recompute", ScheduleName.LOOP),
    )
    precisions: ClassVar[tuple[Precision, ...]] = (Precision.FP32, Precision.FP16)
    capabilities: ClassVar[tuple[str, ...]] = tuple(CAPABILITY_BITS)
    fusions: ClassVar[tuple[str, ...]] = ("fold-scales",)
    late_fusions: ClassVar[tuple[str, ...]] = ()

    def availability(self) -> Availability:
        """Usable where the tensorrt-rtx package is installed. No GPU is needed."""
        try:
            return Availability(True, metadata.version("tensorrt-rtx"))
        except metadata.PackageNotFoundError:
            return Availability(False, hint='pip install "unspool[tensorrt-rtx]"')

    def tools(self) -> Mapping[str, str]:
        """The packages whose version decides what is in an engine."""
        return {name: metadata.version(name) for name in ("onnx-ir", "onnxscript", "tensorrt-rtx", "torch")}

    def stored(self, refs: Sequence[WeightRef]) -> list[WeightRef]:
        """All but the small ones, which the graphs hold."""
        return [ref for ref in refs if ref.nbytes > INLINE_BYTES]

    def build(self, program: Program, model: str, placement: Placement) -> ModelEngines:
        """Emit functions as ONNX, or the decode that they make if engines loop, and build a plan of each.

        Raises TargetError, also where sizes that an engine needs are not known.
        """
        from artifacts.errors import TargetError
        from compiler.emit_onnx import SOURCE_PROPERTY
        from compiler.onnx_engines import model_engines
        from compiler.tensorrt.builder import build_plan
        from compiler.tensorrt.profiles import decode_ranges, given_ranges, profile_of

        trt = importlib.import_module("tensorrt_rtx")
        found = program.models[model]
        signatures = {name: program.functions[name].signature for name in found.schedule.functions}
        ranges = {
            **given_ranges(found.signature, placement.shapes),
            **decode_ranges(found.schedule, signatures),
        }
        capabilities = placement.capabilities or DEFAULT

        def make(name: str, source: OnnxSource) -> BuiltEngine:
            profile = profile_of(name, source.signature, ranges)
            TargetError.raise_if(type_problems(f"engine {name}", source.dtypes(), capabilities))
            nodes = {node.name or "": node.metadata_props.get(SOURCE_PROPERTY, "") for node in source.nodes()}
            named = {node: origin for node, origin in nodes.items() if origin}
            return BuiltEngine(
                source=source.data,
                plan=build_plan(trt, name, source.data, placement.root, profile, capabilities, named),
                suffix=".onnx",
                signature=source.signature,
                status="built",
                needs=(_need(capabilities),),
                runs_on=tuple(f"nvidia:{capability}" for capability in capabilities),
                bindings=source.bindings,
                weights=WeightAccess(default="embedded", ways={"embedded": _HELD}),
            )

        return model_engines(program, model, placement, make, inline_bytes=INLINE_BYTES)


def _need(capabilities: Sequence[str]) -> Need:
    names = ", ".join(map(number_of, capabilities))
    return Need(
        what=f"an NVIDIA GPU of compute capability {names}, and a version of Unspool that runs plans",
        command="unspool check BUNDLE --on " + ",".join(f"nvidia:{capability}" for capability in capabilities),
    )


TARGET = TensorRtRtxTarget()
