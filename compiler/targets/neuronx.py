"""AWS Neuron (Inf2, Trn1, Trn2): HLO modules of static shapes, which neuronx-cc compiles where the SDK is.

The source of an engine is the HloModuleProto that the compiler is handed, with weights as parameters. XLA runs the
very bytes on the CPU, and they are compared with the source model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar

from artifacts.errors import TargetError
from artifacts.manifest import Need, WeightAccess
from artifacts.neuron_options import NeuronOptions
from compiler.neuron.availability import hlo_availability
from compiler.neuron.tracing import TracerName
from compiler.options import Precision, ScheduleName
from compiler.targets.target import (
    Availability,
    Made,
    ModelEngines,
    Pair,
    Placement,
    Plans,
    PlanSource,
    Tell,
    silent,
)

if TYPE_CHECKING:
    from pathlib import Path

    from artifacts.weights import WeightRef
    from compiler.hlo.hlo_engines import HloSource
    from passes.codes import CodesName
    from passes.program import Program

_HELD = (
    "the weights on the cores: each process puts its own there, once for all of its cores if the runtime shares them "
    "(NEURON_RT_MULTI_INSTANCE_SHARED_WEIGHTS=1), or else on each"
)


class NeuronxTarget:
    """Engines of the kind `neuronx`."""

    name: ClassVar[str] = "neuronx"
    kind: ClassVar[str] = "neuronx"
    summary: ClassVar[str] = "AWS Neuron: Inf2, Trn1, Trn2; a proven HLO where the SDK is not"
    decodes: ClassVar[tuple[Pair, ...]] = (
        ("cached", ScheduleName.LOOP),
        ("cached", ScheduleName.UNROLLED),
        ("cached", ScheduleName.PARTITIONED),
        ("padded", ScheduleName.LOOP),
        ("padded", ScheduleName.UNROLLED),
        ("padded", ScheduleName.PARTITIONED),
    )
    precisions: ClassVar[tuple[Precision, ...]] = (Precision.FP32, Precision.BF16, Precision.FP16)
    codes: ClassVar[CodesName] = "int8"
    row_scales: ClassVar[bool] = False
    capabilities: ClassVar[tuple[str, ...]] = ()
    default_capabilities: ClassVar[tuple[str, ...]] = ()
    builder_options: ClassVar[tuple[str, ...]] = ()
    neuron_options: ClassVar[tuple[str, ...]] = tuple(NeuronOptions.model_fields)
    static_shapes: ClassVar[bool] = True
    neuron_cores: ClassVar[bool] = True
    fusions: ClassVar[tuple[str, ...]] = ("fold-scales",)
    late_fusions: ClassVar[tuple[str, ...]] = ("unroll-depthwise",)
    tracers: ClassVar[tuple[TracerName, ...]] = ("torch-neuronx",)
    inf1: ClassVar[bool] = False

    def availability(self) -> Availability:
        """Usable where JAX is, which lowers to HLO and runs it. The SDK is not needed for that."""
        return hlo_availability()

    def tools(self) -> Mapping[str, str]:
        """The packages whose version decides what is in an engine, and the compiler's, if it is here."""
        return {**{name: metadata.version(name) for name in ("jax", "jaxlib", "torch")}, **self.builder_tools()}

    def builder(self) -> Availability:
        """Usable where neuronx-cc is: a source takes nothing else."""
        from compiler.neuron.probe import INSTALL, Compiler, probe

        tool = probe().compiler
        if isinstance(tool, Compiler):
            return Availability(True, tool.version)
        return Availability(False, hint=f"{tool.why}; {INSTALL}")

    def builder_tools(self) -> Mapping[str, str]:
        """The compiler, if it is here, with the flags that the environment has for it."""
        from compiler.neuron.probe import Compiler, probe
        from compiler.neuron.settings import environment_flags

        tool = probe().compiler
        return {"neuronx-cc": f"{tool.version} {environment_flags()}".strip()} if isinstance(tool, Compiler) else {}

    def plans(self, sources: Mapping[str, PlanSource[NeuronOptions]], root: Path, tell: Tell = silent) -> Plans:
        """Compile each source to a NEFF where the compiler is; elsewhere it stays what it is, with what it needs.

        Raises TargetError with the first engine that the compiler does not take: each may need an hour.
        """
        del root  # weights are parameters
        return Plans({name: _made(name, source, tell) for name, source in sources.items()})

    def stored(self, refs: Sequence[WeightRef]) -> list[WeightRef]:
        """All of them: every weight is a parameter."""
        return list(refs)

    def build(self, program: Program, model: str, placement: Placement) -> ModelEngines:
        """Lower functions to HLO, or the decode that they make, at the shapes of the model's first sample.

        Raises UnsupportedError with every operator that has no lowering, TargetError with all that the compiler
        documents to refuse, NumericsError if an engine answers otherwise than the program with other weights.
        """
        from compiler.neuron.preflight import preflight
        from compiler.neuron.proven import proven_sources
        from compiler.neuron.traced_engines import traced_engines

        proven = proven_sources(program, model, preflight, placement.tell)
        if placement.tracing.tracer is not None:
            return traced_engines(program, model, proven, placement, placement.tracing.tracer)

        def made(name: str, source: HloSource) -> Made:
            return _made(name, PlanSource(source.data, placement.neuron, placement.seconds), placement.tell)

        return proven.engines(made)


def _made(name: str, source: PlanSource[NeuronOptions], tell: Tell) -> Made:
    """A NEFF where the compiler is, and elsewhere the source with what it needs. Raises TargetError."""
    from compiler.neuron.compiler import COMPILE_SECONDS, compile_hlo, sdk_need
    from compiler.neuron.probe import Compiler, probe

    options, tool = source.build, probe().compiler
    weights = WeightAccess(default="separate", ways={"separate": _HELD})
    if not isinstance(tool, Compiler):
        need = sdk_need(options, f"BUNDLE/engines/{name}.hlo.pb", f"{name}.neff")
        return Made("emitted", weights, build=options, needs=(need,))
    seconds = COMPILE_SECONDS if source.seconds is None else source.seconds
    compiled = compile_hlo(tool, name, source.data, options, timeout=seconds, tell=tell)
    if _FIXTURE in compiled.neff.header.build:
        message = f"{tool.path} is a stand-in for tests: what it wrote is a fixture, and no NEFF"
        raise TargetError.of("compile", f"engine {name}", message, "take it from PATH")
    device = Need(
        what=f"an AWS instance with {options.target} cores",
        command="deploy it there: this version of Unspool does not run it",
    )
    return Made("built", weights, plan=compiled.data, suffix=".neff", build=options, needs=(device,))


_FIXTURE = "FIXTURE"
"""What the tests' double of the compiler says it is. Nothing that it makes may look compiled."""


TARGET = NeuronxTarget()
