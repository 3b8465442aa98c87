"""TensorRT: plans for NVIDIA GPUs, which its builder makes on a machine that has one.

Elsewhere an engine stays the source that the builder will be handed. What can be known of it is told: its sizes and
types are checked, and TensorRT-RTX, whose builder needs no GPU, parses and builds it in TensorRT's place where it is
installed. That is a proxy and no proof.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar

from artifacts.cuda import gpu_capability
from artifacts.errors import Problem, TargetError, UnspoolError
from artifacts.manifest import Need
from artifacts.plan_build import BuilderOptions, PlanBuild
from artifacts.tensorrt_plan import CAPABILITY_BITS, number_of
from compiler.targets.target import Availability, Made, Plans, PlanSource, Tell, silent
from compiler.tensorrt.plan_target import PlanTarget
from compiler.tensorrt.timing_cache import timing_file
from compiler.tensorrt.weights import weight_access

if TYPE_CHECKING:
    from pathlib import Path

_HINT = "engines stay sources here; on a machine with an NVIDIA GPU: pip install tensorrt"
_PROXY = "TensorRT-RTX"


class TensorRtTarget(PlanTarget):
    """Engines of the kind `tensorrt`."""

    name: ClassVar[str] = "tensorrt"
    kind: ClassVar[str] = "tensorrt"
    summary: ClassVar[str] = "TensorRT for NVIDIA GPUs; builds where there is one"
    capabilities: ClassVar[tuple[str, ...]] = (
        "sm75",
        "sm80",
        "sm86",
        "sm87",
        "sm89",
        "sm90",
        "sm100",
        "sm103",
        "sm110",
        "sm120",
        "sm121",
    )
    builder_options: ClassVar[tuple[str, ...]] = tuple(BuilderOptions.model_fields)

    def availability(self) -> Availability:
        """Usable everywhere: without the tensorrt package engines stay sources."""
        return Availability(True, _version() or "", _HINT)

    def builder_tools(self) -> Mapping[str, str]:
        """The package of the builder, if it and a GPU are here: what is made where one is missing is another thing."""
        version = _version()
        return {} if version is None or gpu_capability() is None else {"tensorrt": version}

    def plans(self, sources: Mapping[str, PlanSource[PlanBuild]], root: Path, tell: Tell = silent) -> Plans:
        """Build a plan of each engine, for the GPU that is here; without one they stay sources.

        Raises TargetError, also if the engines are for other GPUs than the one that is here.
        """
        gpu = gpu_capability()
        version = _version()
        if gpu is None or version is None:
            made = {name: _emitted(source.build) for name, source in sources.items()}
            return Plans(made, tuple(_proxy_notices(sources, root, tell)))
        from compiler.tensorrt.builder import build_plan, layers_of, refusals

        trt = importlib.import_module("tensorrt")
        TargetError.raise_if(
            problem for name, source in sources.items() for problem in refusals(trt, name, source.data, root)
        )
        TargetError.raise_if(
            _elsewhere(name, source.build, gpu) for name, source in sources.items() if _is_not_for(source.build, gpu)
        )
        engines = {}
        for name, source in sources.items():
            plan = build_plan(trt, name, source.data, root, source.build, tell, timing_file(version, gpu))
            engines[name] = Made(
                status="built",
                weights=weight_access(source.build),
                plan=plan,
                build=source.build,
                layers=layers_of(trt, plan),
                needs=(Need(what="to be run on this machine", command="unspool verify BUNDLE"),),
                runs_on=tuple(f"nvidia:{each}" for each in self._loads_on(source.build, gpu)),
            )
        return Plans(engines)

    def _loads_on(self, build: PlanBuild, gpu: str) -> tuple[str, ...]:
        """Where a plan loads that was built on this GPU. The order of capabilities is that of generations."""
        if build.options.hardware_compatibility != "ampere-plus":
            return (gpu,)
        return self.capabilities[self.capabilities.index("sm80") :]


def _version() -> str | None:
    """The version of TensorRT that is installed. Its package on the index brings the module from elsewhere, or not."""
    try:
        return metadata.version("tensorrt") if importlib.util.find_spec("tensorrt") else None
    except metadata.PackageNotFoundError:
        return None


def _emitted(build: PlanBuild) -> Made:
    gpus = f" of compute capability {', '.join(map(number_of, build.capabilities))}" if build.capabilities else ""
    return Made(
        status="emitted",
        weights=weight_access(build),
        build=build,
        needs=(
            Need(
                what=f"a machine with an NVIDIA GPU{gpus} and the tensorrt package",
                command="unspool emit --from BUNDLE --target tensorrt -o BUNDLE2",
            ),
        ),
    )


def _is_not_for(build: PlanBuild, gpu: str) -> bool:
    return bool(build.capabilities) and gpu not in build.capabilities and build.options.hardware_compatibility == "none"


def _elsewhere(name: str, build: PlanBuild, gpu: str) -> Problem:
    wanted = ", ".join(map(number_of, build.capabilities))
    return Problem(
        "target",
        f"engine {name}",
        f"is for GPUs of compute capability {wanted}, and the one here has {number_of(gpu)}",
        "build it on one of them, or compile with --hardware-compatibility ampere-plus",
    )


def _proxy_notices(sources: Mapping[str, PlanSource[PlanBuild]], root: Path, tell: Tell) -> list[str]:
    """What the builder of TensorRT-RTX says of the engines, which stands for nobody else."""
    try:
        trt: Any = importlib.import_module("tensorrt_rtx")
    except ImportError:
        return [f'nothing here could parse the engines: pip install "unspool[tensorrt-rtx]" to have {_PROXY} try']
    from compiler.tensorrt.builder import build_plan, refusals

    notices, built = [], 0
    for name, source in sources.items():
        refused = refusals(trt, name, source.data, root)
        notices += [f"{_PROXY}, in TensorRT's place: {problem.subject}: {problem.message}" for problem in refused]
        if refused:
            continue
        gpus = tuple(each for each in source.build.capabilities if each in CAPABILITY_BITS) or ("sm89",)
        stand_in = source.build.model_copy(update={"capabilities": gpus, "options": BuilderOptions()})
        try:
            build_plan(trt, name, source.data, root, stand_in, tell)
            built += 1
        except UnspoolError as error:
            notices.append(f"{_PROXY}, in TensorRT's place: {error.problems[0].subject}: {error.problems[0].message}")
    version = metadata.version("tensorrt-rtx")
    return [*notices, f"{_PROXY} {version} built {built} of {len(sources)} engines as a trial; TensorRT has seen none"]


TARGET = TensorRtTarget()
