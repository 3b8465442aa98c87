"""Who traces parts of a model for Neuron devices, if anybody does, and what is not to be combined."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

from artifacts.errors import Problem
from artifacts.noun import Noun
from compiler.neuron.inf1_settings import Inf1Options

if TYPE_CHECKING:
    from compiler.targets.target import Target

TracerName = Literal["torch-neuronx", "torch-neuron"]
"""The SDK's packages that trace: of Inf2, Trn1 and Trn2, and of Inf1."""

FLAG = "--neuron-tracer"


class Tracing(Noun):
    """Which of the SDK's packages traces here, None for none, and what torch-neuron is told."""

    tracer: TracerName | None = None
    inf1: Inf1Options = Inf1Options()


@runtime_checkable
class Tracable(Protocol):
    """A target whose engines the SDK can trace."""

    tracers: ClassVar[tuple[TracerName, ...]]
    """The packages that can."""
    inf1: ClassVar[bool]
    """Whether it makes something for torch-neuron, be that here or not."""


def tracing_problems(tracing: Tracing, target: Target) -> list[Problem]:
    """A problem for every option that means nothing to a target."""
    tracers = target.tracers if isinstance(target, Tracable) else ()
    problems = []
    if tracing.tracer is not None and tracing.tracer not in tracers:
        hint = f"give {' or '.join(tracers)}" if tracers else "leave it out"
        message = f"traces nothing for target {target.name}"
        problems.append(Problem("options", f"{FLAG} {tracing.tracer}", message, hint))
    for_inf1 = tracing.tracer == "torch-neuron" or (isinstance(target, Tracable) and target.inf1)
    if tracing.inf1 != Inf1Options() and not for_inf1:
        message = f"mean nothing to target {target.name}" + (f" without {FLAG} torch-neuron" if tracers else "")
        hint = f"leave them out, or give --target neuron or {FLAG} torch-neuron"
        problems.append(Problem("options", "the --inf1 options", message, hint))
    return problems
