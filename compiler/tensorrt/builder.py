"""Build a plan from an engine's ONNX, with the builder of TensorRT or of TensorRT-RTX: one interface, two modules.

Names of the interface: the Python API references of TensorRT 10 and TensorRT-RTX 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from artifacts.errors import Problem, TargetError
from artifacts.plan_build import PlanBuild
from artifacts.tensorrt_said import Said
from compiler.node_origins import node_origins
from compiler.targets.target import Tell, silent
from compiler.tensorrt.timing_cache import read_times, write_times

STAGE = "build"


def refusals(trt: Any, name: str, source: bytes, root: Path) -> list[Problem]:
    """A problem for every node of an engine that the parser refuses; `root` is where weights are named from."""
    said = Said.of(trt)
    return _refusals(_Parsed(trt, said, source, root), name, source)


def build_plan(
    trt: Any, name: str, source: bytes, root: Path, build: PlanBuild, tell: Tell = silent, times: Path | None = None
) -> bytes:
    """The plan of one engine, the same bytes every time.

    `trt` is the module of the builder, `root` the folder that weights are named from. Computes in the types that the
    graph has. With a file of `times` the builder is one that builds for the GPU that is here. `tell` is called with the
    phases of the build. Raises TargetError with every node that the parser refuses at once, or with what the builder
    says.
    """
    said = Said.of(trt)
    parsed = _Parsed(trt, said, source, root)
    TargetError.raise_if(_refusals(parsed, name, source))
    config = parsed.builder.create_builder_config()
    if times is not None:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # what `layers_of` reads
        read_times(config, times)
    else:
        config.num_compute_capabilities = len(build.capabilities)
        for number, capability in enumerate(build.capabilities):
            config.set_compute_capability(getattr(trt.ComputeCapability, capability.upper()), number)
    _set_options(trt, config, build)
    for profile in build.profiles:
        shapes = parsed.builder.create_optimization_profile()
        for value, sizes in profile.items():
            shapes.set_shape(value, sizes.least, sizes.usual, sizes.most)
        if config.add_optimization_profile(shapes) < 0:
            raise TargetError.of(STAGE, f"engine {name}", f"the builder refuses a profile: {said.last()}")
    config.progress_monitor = _monitor(trt, name, tell)
    plan = parsed.builder.build_serialized_network(parsed.network, config)
    if plan is None:
        hint = _BUILD_HINT if build.options.weights == "embedded" else _WEIGHTS_HINT
        raise TargetError.of(STAGE, f"engine {name}", f"the builder fails: {said.last()}", hint)
    if times is not None and (problem := write_times(config, times)):
        tell(problem)
    return bytes(plan)


_BUILD_HINT = "can the model do with the sizes of the profiles, and the GPUs with its types?"
_WEIGHTS_HINT = "plans whose weights can be replaced are built where there is a GPU: do that, or use --weights embedded"


def _set_options(trt: Any, config: Any, build: PlanBuild) -> None:
    options = build.options
    # The builder's own choice is to round float32 to 10 bits, which is not what the graph says.
    (config.set_flag if options.tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatibility != "none":
        level = options.hardware_compatibility.upper().replace("-", "_")
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    if options.weights == "refit":
        config.set_flag(trt.BuilderFlag.REFIT)
    if options.weights == "stripped":
        # What is stripped comes back as it was: kernels may be chosen by its values.
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
        config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)


class _Parsed:
    """A network that was parsed, as far as it was."""

    def __init__(self, trt: Any, said: Any, source: bytes, root: Path) -> None:
        self.said = said
        self.builder = trt.Builder(said)
        self.network = self.builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self.parser = trt.OnnxParser(self.network, said)
        # Weights are looked for beside the path; nothing is read from it.
        self.is_whole = self.parser.parse(source, str(root / "engine.onnx"))

    @property
    def errors(self) -> list[Any]:
        return [self.parser.get_error(number) for number in range(self.parser.num_errors)]


def _refusals(parsed: _Parsed, name: str, source: bytes) -> list[Problem]:
    if parsed.is_whole:
        return []
    origins = node_origins(source)
    found = [_refused(name, error, origins) for error in parsed.errors]
    return found or [Problem(STAGE, f"engine {name}", f"the parser refuses it: {parsed.said.last()}")]


def _refused(name: str, error: Any, origins: dict[str, str]) -> Problem:
    node, operator = error.node_name(), error.node_operator()
    source = f" (source node {origins[node]!r})" if node in origins else ""
    said = [line for line in error.desc().strip().split("\n") if not line.startswith("Invalid Node")]
    reason = said[0] if said else error.desc().strip()
    return Problem(
        STAGE,
        f"engine {name}, node {node!r}{source}",
        f"the parser refuses {operator}: {reason}",
        "write the model with other operators, or compile for --target onnxruntime",
    )


def _monitor(trt: Any, name: str, tell: Tell) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc] # the module is not known before it is imported
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, _parent: str | None, _steps: int) -> None:
            tell(f"{name}: {phase[:1].lower()}{phase[1:]}")

        def phase_finish(self, _phase: str) -> None:
            pass

        def step_complete(self, _phase: str, _step: int) -> bool:
            return True  # go on

    return Monitor()


def layers_of(trt: Any, plan: bytes) -> str:
    """What the inspector says of a plan's layers, a JSON document. Takes the GPU that the plan is for.

    Raises TargetError if the plan cannot be opened.
    """
    said = Said.of(trt)
    engine = trt.Runtime(said).deserialize_cuda_engine(plan)
    if engine is None:
        raise TargetError.of(STAGE, "plan", f"cannot be opened again: {said.last()}")
    text: str = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return text
