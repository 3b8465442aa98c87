"""Engines of functions that the SDK traces: their HLO as the proven source, and the traced model where it is asked for.

Elsewhere the bundle has the parts, and a script that has the SDK trace them.
"""

from __future__ import annotations

from collections.abc import Mapping

from artifacts.errors import Problem, TargetError
from artifacts.manifest import WeightAccess
from compiler.hlo.hlo_engines import HloSource
from compiler.neuron.proven import Proven
from compiler.neuron.trace import script_path, trace_need, traced_model
from compiler.neuron.trace_job import TraceJob, keywords_of
from compiler.neuron.trace_parts import trace_part
from compiler.neuron.tracing import TracerName
from compiler.targets.target import Made, ModelEngines, Placement
from passes.program import Program

_APART = "choose --schedule loop, which has encoder and step apart"
_SEPARATE = "the weights on the cores: each process puts its own there"


def traced_engines(
    program: Program,
    model: str,
    proven: Proven,
    placement: Placement,
    tracer: TracerName,
) -> ModelEngines:
    """The model's engines, each with its part and the script that traces it, and traced if that is asked for.

    Raises TargetError, also if an engine is more than one function.
    """
    TargetError.raise_if(
        Problem("emit", f"engine {name}", f"{tracer} traces functions, and this is a decode of many", _APART)
        for name in proven.sources.engines
        if name not in program.functions
    )
    jobs = {
        name: _job(program, model, name, source, placement, tracer) for name, source in proven.sources.engines.items()
    }

    def made(name: str, _source: HloSource) -> Made:
        if placement.tracing.tracer is None:
            need = trace_need(tracer, name)
            return Made("emitted", WeightAccess(default="separate", ways={"separate": _SEPARATE}), needs=(need,))
        return traced_model(name, jobs[name], placement)

    def files(name: str, _source: HloSource) -> Mapping[str, bytes]:
        (part,) = jobs[name].parts
        return {part.path: part.data, script_path(name): jobs[name].script().encode()}

    return proven.engines(made, files)


def _job(
    program: Program,
    model: str,
    name: str,
    source: HloSource,
    placement: Placement,
    tracer: TracerName,
) -> TraceJob:
    schedule = program.models[model].schedule
    try:
        part = trace_part(
            program.functions[name], schedule, source, placement.weights, placement.shards, placement.root
        )
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0]
        raise TargetError.of("emit", f"engine {name}", f"torch.jit: {reason}") from error
    return TraceJob(tracer, keywords_of(tracer, placement.tracing, placement.neuron), (part,))
