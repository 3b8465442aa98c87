"""TorchScript: one model of a decode, its parts traced apart and its loop on the host, as torch-neuron users deploy.

The parts are traced for the CPU, so that the model runs and is verified. Where the Neuron SDK is, and asked for, the
same parts are traced for its devices, with the same loop around them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from artifacts.errors import TargetError
from artifacts.manifest import WeightAccess
from compiler.neuron.tracing import TracerName
from compiler.options import Precision, ScheduleName
from compiler.targets.target import Availability, BuiltEngine, Made, ModelEngines, Pair, Placement

if TYPE_CHECKING:
    from artifacts.weights import WeightRef
    from passes.codes import CodesName
    from passes.program import Program

_HELD = "all weights: they are inside the model, and each process has a copy"


_TRACED_KINDS: Mapping[TracerName, str] = MappingProxyType({"torch-neuronx": "neuronx", "torch-neuron": "neuron"})
"""What a model is whose parts a package of the SDK has traced."""


class TorchScriptTarget:
    """Engines of the kind `torchscript`."""

    name: ClassVar[str] = "torchscript"
    kind: ClassVar[str] = "torchscript"
    summary: ClassVar[str] = "One TorchScript model with its loop, loaded with torch alone"
    decodes: ClassVar[tuple[Pair, ...]] = (
        ("cached", ScheduleName.ENGINE_LOOP),
        ("padded", ScheduleName.ENGINE_LOOP),
    )
    precisions: ClassVar[tuple[Precision, ...]] = (Precision.FP32,)
    codes: ClassVar[CodesName] = "uint8"
    row_scales: ClassVar[bool] = False
    capabilities: ClassVar[tuple[str, ...]] = ()
    default_capabilities: ClassVar[tuple[str, ...]] = ()
    builder_options: ClassVar[tuple[str, ...]] = ()
    neuron_options: ClassVar[tuple[str, ...]] = ()
    static_shapes: ClassVar[bool] = True
    neuron_cores: ClassVar[bool] = False
    fusions: ClassVar[tuple[str, ...]] = ("fold-scales",)
    late_fusions: ClassVar[tuple[str, ...]] = ()
    tracers: ClassVar[tuple[TracerName, ...]] = ("torch-neuronx", "torch-neuron")
    inf1: ClassVar[bool] = False

    def availability(self) -> Availability:
        """Usable where torch is."""
        try:
            return Availability(True, metadata.version("torch"))
        except metadata.PackageNotFoundError:
            return Availability(False, hint='pip install "unspool[compile]"')

    def tools(self) -> Mapping[str, str]:
        """The packages whose version decides what is in an engine."""
        return {"torch": metadata.version("torch")}

    def stored(self, refs: Sequence[WeightRef]) -> list[WeightRef]:  # noqa: ARG002  # of the protocol
        """None: the model has them inside."""
        return []

    def build(self, program: Program, model: str, placement: Placement) -> ModelEngines:
        """Trace encoder and step at the shapes of the model's first sample, and write the loop around them.

        Where the SDK traces them, the model whose parts are traced for the CPU is the source, which proves the loop.
        Raises TargetError for what torch.jit cannot trace, and for what the SDK makes of it if that is asked for.
        """
        from compiler.torchscript.engine import torchscript_engine

        try:
            engine = torchscript_engine(program, model)
            data = engine.data()
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[0]
            raise TargetError.of("emit", model, f"torch.jit: {reason}") from error
        name = f"{model}.decode" if program.models[model].schedule.kind == "decode" else model
        made = Made("emitted", WeightAccess(default="embedded", ways={"embedded": _HELD}), runs_on=("cpu",))
        kind, tracer = self.kind, placement.tracing.tracer
        if tracer is not None:
            from compiler.neuron.trace import traced_model

            kind = _TRACED_KINDS[tracer]
            made = traced_model(name, engine.job(tracer, placement.tracing, placement.neuron), placement)
        built = BuiltEngine(source=data, suffix=".pt", signature=engine.signature, made=made, kind=kind)
        functions = dict.fromkeys(program.models[model].schedule.functions, (name,))
        return ModelEngines({name: built}, functions, takes=engine.shapes)


TARGET = TorchScriptTarget()
