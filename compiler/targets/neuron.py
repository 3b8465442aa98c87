"""AWS Neuron of the first generation (Inf1), legacy: HLO modules that are proven, and scripts for torch-neuron.

The SDK of Inf1 is archived, and so old that it has no Python in common with Unspool. An engine is the HLO of a
function, which XLA runs on the CPU to be compared with the source model. What compiles for Inf1 is another file that
comes with it: the function in TorchScript, and a script that has torch-neuron trace that.

Why not neuron-cc on the HLO: that it takes XLA's modules is documented, and what its description of inputs and outputs
has to say for them is not. Of `torch.neuron.trace` every argument is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar

from compiler.neuron.availability import hlo_availability
from compiler.neuron.tracing import TracerName
from compiler.options import Precision, ScheduleName
from compiler.targets.target import Availability, ModelEngines, Pair, Placement

if TYPE_CHECKING:
    from artifacts.weights import WeightRef
    from passes.codes import CodesName
    from passes.program import Program

_TRACER: TracerName = "torch-neuron"


class NeuronTarget:
    """Engines of the kind `neuron`."""

    name: ClassVar[str] = "neuron"
    kind: ClassVar[str] = "neuron"
    summary: ClassVar[str] = "Legacy: AWS Neuron on Inf1; a proven HLO, and a script for torch-neuron"
    # Encoder and step apart: torch-neuron's users have the loop on the host, and a step without a cache.
    decodes: ClassVar[tuple[Pair, ...]] = (("padded", ScheduleName.LOOP),)
    precisions: ClassVar[tuple[Precision, ...]] = (Precision.FP32,)
    codes: ClassVar[CodesName] = "int8"
    row_scales: ClassVar[bool] = False
    capabilities: ClassVar[tuple[str, ...]] = ()
    default_capabilities: ClassVar[tuple[str, ...]] = ()
    builder_options: ClassVar[tuple[str, ...]] = ()
    static_shapes: ClassVar[bool] = True
    neuron_options: ClassVar[tuple[str, ...]] = ()
    neuron_cores: ClassVar[bool] = False
    fusions: ClassVar[tuple[str, ...]] = ("fold-scales",)
    late_fusions: ClassVar[tuple[str, ...]] = ()
    tracers: ClassVar[tuple[TracerName, ...]] = (_TRACER,)
    inf1: ClassVar[bool] = True

    def availability(self) -> Availability:
        """Usable where JAX is, which lowers to HLO and runs it. The SDK is not needed for that."""
        return hlo_availability()

    def tools(self) -> Mapping[str, str]:
        """The packages whose version decides what is in an engine."""
        return {name: metadata.version(name) for name in ("jax", "jaxlib", "torch")}

    def stored(self, refs: Sequence[WeightRef]) -> list[WeightRef]:
        """All of them: every weight is a parameter of the HLO, and put into the traced part by the script."""
        return list(refs)

    def build(self, program: Program, model: str, placement: Placement) -> ModelEngines:
        """Lower functions to HLO at the shapes of the model's first sample, and trace them for the CPU.

        Raises UnsupportedError with every operator that has no lowering, TargetError with all that Inf1's documents
        refuse, for what torch.jit cannot trace, and for what torch-neuron makes of it if that is asked for;
        NumericsError if an engine answers otherwise than the program with other weights, or a part otherwise.
        """
        from compiler.neuron.inf1_preflight import inf1_preflight
        from compiler.neuron.proven import proven_sources
        from compiler.neuron.traced_engines import traced_engines

        preflight = inf1_preflight(fallback=placement.tracing.inf1.fallback)
        proven = proven_sources(program, model, preflight, placement.tell)
        return traced_engines(program, model, proven, placement, _TRACER)


TARGET = NeuronTarget()
