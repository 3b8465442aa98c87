"""TensorRT-RTX: plans for NVIDIA GPUs, which its builder makes without one.

A plan holds its weights. The graph that it was built from stays in the bundle, and is what the numbers are checked on,
in ONNX Runtime: nothing but such a GPU can run the plan itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar

from artifacts.errors import TargetError
from artifacts.manifest import Need
from artifacts.tensorrt_plan import CAPABILITY_BITS, number_of
from compiler.options import Precision, ScheduleName
from compiler.targets.target import Availability, Made, ModelEngines, Pair, Placement, Plans, PlanSource, Tell, silent
from compiler.tensorrt.weights import INLINE_BYTES, weight_access

if TYPE_CHECKING:
    from pathlib import Path

    from artifacts.weights import WeightRef
    from passes.program import Program

DEFAULT = ("sm80", "sm86", "sm89", "sm120")
"""What a plan is built for if nobody says. Each one more makes the plan larger."""


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
    builder_options: ClassVar[tuple[str, ...]] = ("weights",)
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
        from compiler.tensorrt.plan_sources import plan_engines

        return plan_engines(self, program, model, placement, placement.capabilities or DEFAULT)

    def plans(self, sources: Mapping[str, PlanSource], root: Path, tell: Tell = silent) -> Plans:
        """Build a plan of each engine. Raises TargetError."""
        from compiler.tensorrt.builder import build_plan, refusals

        trt = importlib.import_module("tensorrt_rtx")
        TargetError.raise_if(
            problem for name, source in sources.items() for problem in refusals(trt, name, source.data, root)
        )
        engines = {}
        for name, source in sources.items():
            build = source.build
            if not build.capabilities:
                build = build.model_copy(update={"capabilities": DEFAULT})
            engines[name] = Made(
                status="built",
                weights=weight_access(build),
                plan=build_plan(trt, name, source.data, root, build, tell),
                build=build,
                needs=(_need(build.capabilities),),
                runs_on=tuple(f"nvidia:{capability}" for capability in build.capabilities),
            )
        return Plans(engines)


def _need(capabilities: Sequence[str]) -> Need:
    names = ", ".join(map(number_of, capabilities))
    return Need(
        what=f"an NVIDIA GPU of compute capability {names}, and a version of Unspool that runs plans",
        command="unspool check BUNDLE --on " + ",".join(f"nvidia:{capability}" for capability in capabilities),
    )


TARGET = TensorRtRtxTarget()
