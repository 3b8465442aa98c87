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
from artifacts.plan_build import PlanBuild
from artifacts.tensorrt_plan import CAPABILITY_BITS, number_of
from compiler.targets.target import Availability, Made, Plans, PlanSource, Tell, silent
from compiler.tensorrt.plan_target import PlanTarget
from compiler.tensorrt.weights import weight_access

if TYPE_CHECKING:
    from pathlib import Path


class TensorRtRtxTarget(PlanTarget):
    """Engines of the kind `tensorrt-rtx`."""

    name: ClassVar[str] = "tensorrt-rtx"
    kind: ClassVar[str] = "tensorrt-rtx"
    summary: ClassVar[str] = "TensorRT-RTX for NVIDIA GPUs; builds without one"
    capabilities: ClassVar[tuple[str, ...]] = tuple(CAPABILITY_BITS)
    default_capabilities: ClassVar[tuple[str, ...]] = ("sm80", "sm86", "sm89", "sm120")  # each makes the plan larger
    builder_options: ClassVar[tuple[str, ...]] = ("weights", "tf32")

    def availability(self) -> Availability:
        """Usable where the tensorrt-rtx package is installed. No GPU is needed."""
        try:
            return Availability(True, metadata.version("tensorrt-rtx"))
        except metadata.PackageNotFoundError:
            return Availability(False, hint='pip install "unspool[tensorrt-rtx]"')

    def builder_tools(self) -> Mapping[str, str]:
        """The package of the builder."""
        return {"tensorrt-rtx": metadata.version("tensorrt-rtx")}

    def plans(self, sources: Mapping[str, PlanSource[PlanBuild]], root: Path, tell: Tell = silent) -> Plans:
        """Build a plan of each engine. Raises TargetError."""
        from compiler.tensorrt.builder import build_plan, refusals

        trt = importlib.import_module("tensorrt_rtx")
        TargetError.raise_if(
            problem for name, source in sources.items() for problem in refusals(trt, name, source.data, root)
        )
        engines = {}
        for name, source in sources.items():
            gpus = source.build.capabilities or self.default_capabilities
            build = source.build.model_copy(update={"capabilities": gpus})
            engines[name] = Made(
                status="built",
                weights=weight_access(build),
                plan=build_plan(trt, name, source.data, root, build, tell),
                build=build,
                needs=(_need(gpus),),
                runs_on=tuple(f"nvidia:{gpu}" for gpu in gpus),
            )
        return Plans(engines)


def _need(capabilities: Sequence[str]) -> Need:
    names = ", ".join(map(number_of, capabilities))
    return Need(what=f"an NVIDIA GPU of compute capability {names}", command="unspool verify BUNDLE")


TARGET = TensorRtRtxTarget()
