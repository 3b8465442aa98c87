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
from compiler.options import Precision, ScheduleName
from compiler.targets.target import (
    Availability,
    BuiltEngine,
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

    def availability(self) -> Availability:
        """Usable where JAX is, which lowers to HLO and runs it. The SDK is not needed for that."""
        try:
            return Availability(True, f"jax {metadata.version('jax')}")
        except metadata.PackageNotFoundError:
            return Availability(False, hint='pip install "unspool[neuron-hlo]"')

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
        from artifacts.checks import require_equal
        from compiler.hlo.hlo_engines import hlo_sources
        from compiler.hlo.second_weights import check_second_weights
        from compiler.neuron.preflight import errors_of, preflight, warnings_of

        found = program.models[model]
        shapes = {name: array.shape for name, array in found.samples[0].inputs.items()}
        sources = hlo_sources(program, model, shapes)
        found_before = {name: preflight(source.data) for name, source in sources.engines.items()}
        TargetError.raise_if(problem for name, each in found_before.items() for problem in errors_of(name, each))
        placement.tell("with other weights")
        checks = check_second_weights(program, model, sources)
        require_equal(checks, "emit", "lowering, with other weights")
        engines = {
            name: BuiltEngine(
                source=source.data,
                suffix=".hlo.pb",
                signature=source.signature,
                made=_made(name, PlanSource(source.data, placement.neuron, placement.seconds), placement.tell),
                bindings=source.bindings,
                aliases=source.aliases,
            )
            for name, source in sources.engines.items()
        }
        tokens = getattr(found.schedule, "tokens", "")
        callers = {spec.name for source in sources.engines.values() for spec in source.signature.inputs}
        taken = ", ".join(
            f"{spec.name} {'x'.join(map(str, shapes[spec.name]))}"
            for spec in found.signature.inputs
            if spec.name in shapes and spec.name in callers and spec.name != tokens
        )
        warnings = [notice for name, each in found_before.items() for notice in warnings_of(name, each)]
        warnings += [
            f"with other weights {check.comparison.mismatched} of {check.comparison.size} {check.output} are not those "
            "of the program in torch: fewer bits turn near ties"
            for check in checks
            if not check.comparison.passed
        ]
        sizes = f"takes {taken} and no other shapes; choose them with --opt-shapes"
        return ModelEngines(engines, sources.functions, (sizes, *warnings))


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
