"""TorchScript: one model of a decode, its parts traced apart and its loop on the host, as torch-neuron users deploy.

Here the parts are traced for the CPU, so the model runs and is verified. With the Neuron SDK the same parts are traced
for its devices; that is the SDK's to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar

from artifacts.errors import TargetError
from artifacts.manifest import WeightAccess
from compiler.options import Precision, ScheduleName
from compiler.targets.target import Availability, BuiltEngine, Made, ModelEngines, Pair, Placement

if TYPE_CHECKING:
    from artifacts.weights import WeightRef
    from passes.codes import CodesName
    from passes.program import Program

_HELD = "all weights: they are inside the model, and each process has a copy"


class TorchScriptTarget:
    """Engines of the kind `torchscript`."""

    name: ClassVar[str] = "torchscript"
    kind: ClassVar[str] = "torchscript"
    summary: ClassVar[str] = "One TorchScript model with its loop, loaded with torch alone"
    decodes: ClassVar[tuple[Pair, ...]] = (("padded", ScheduleName.ENGINE_LOOP),)
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

    def build(self, program: Program, model: str, placement: Placement) -> ModelEngines:  # noqa: ARG002
        """Trace encoder and step at the shapes of the model's first sample, and write the loop around them.

        Raises TargetError for what torch.jit cannot trace.
        """
        from compiler.torchscript.engine import torchscript_engine

        try:
            data, signature, shapes = torchscript_engine(program, model)
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[0]
            raise TargetError.of("emit", model, f"torch.jit: {reason}") from error
        name = f"{model}.decode" if program.models[model].schedule.kind == "decode" else model
        engine = BuiltEngine(
            source=data,
            suffix=".pt",
            signature=signature,
            made=Made("emitted", WeightAccess(default="embedded", ways={"embedded": _HELD}), runs_on=("cpu",)),
        )
        functions = dict.fromkeys(program.models[model].schedule.functions, (name,))
        return ModelEngines(
            {name: engine}, functions, (f"takes {shapes} and no other shapes; choose them with --opt-shapes",)
        )


TARGET = TorchScriptTarget()
