"""Flags of commands that are about AWS Neuron: what its compiler is told, who traces, and how a bundle is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

PANEL = "AWS Neuron"


def _compiling(*flags: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*flags, help=help, rich_help_panel=PANEL, **more)


NeuronTargetFlag = Annotated[
    Literal["inf2", "trn1", "trn1n", "trn2"] | None,
    _compiling("--neuron-target", help="Instances to compile for; inf2 if left out."),
]
ModelTypeFlag = Annotated[
    Literal["generic", "transformer", "unet-inference"] | None,
    _compiling("--model-type", help="What the compiler optimises for; generic if left out."),
]
AutoCastFlag = Annotated[
    Literal["none", "matmult", "all"] | None,
    _compiling("--auto-cast", help="What is computed in fewer bits; none if left out. No figure here tells of more."),
]
AutoCastTypeFlag = Annotated[
    Literal["bf16", "fp16", "tf32", "fp8_e4m3"] | None,
    _compiling("--auto-cast-type", help="What that is cast to; the compiler's own is bf16."),
]
OptlevelFlag = Annotated[
    int | None, _compiling("--optlevel", min=1, max=3, help="How hard the compiler works; 2 if left out.")
]
LogicalFlag = Annotated[
    int | None, _compiling("--logical-nc-config", min=1, max=2, help="Of trn2: physical cores in a logical one.")
]
FastLoadingFlag = Annotated[
    bool | None, _compiling("--fast-loading/--no-fast-loading", help="Leave NEFFs uncompressed: larger, sooner loaded.")
]
FurtherFlag = Annotated[
    list[str] | None,
    _compiling("--neuronx-cc-arg", metavar="FLAG", help="A further flag of neuronx-cc, --flag=value; again for more."),
]
CompilerTimeoutFlag = Annotated[
    float | None,
    _compiling(
        "--compiler-timeout", min=1, metavar="SECONDS", help="How long an engine may compile; an hour if left out."
    ),
]


def _serving(*flags: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*flags, help=help, rich_help_panel="Serving on AWS Neuron", **more)


InstancesFlag = Annotated[
    int | None, _serving("--instances", min=1, help="Processes that serve the bundle; 1 if left out.")
]
NumCoresFlag = Annotated[
    int | None,
    _serving("--num-cores", min=1, help="NeuronCores of all instances together; the runtime chooses which."),
]
VisibleCoresFlag = Annotated[
    str | None,
    _serving("--visible-cores", metavar="0-3", help="NeuronCores by number, instead of their count; also 0,2."),
]
ExecTimeoutFlag = Annotated[int | None, _serving("--exec-timeout", min=0, help="Seconds that one execution may take.")]
SharedWeightsFlag = Annotated[
    bool | None,
    _serving(
        "--shared-weights/--no-shared-weights",
        help="Whether the cores of a process share one copy of the weights; they do if it has several.",
    ),
]
LoadingFlag = Annotated[
    Literal["lazy", "async"] | None,
    _serving("--loading", help="When a traced model goes to its cores; at once if left out."),
]

TracerFlag = Annotated[
    Literal["torch-neuronx", "torch-neuron"] | None,
    _compiling(
        "--neuron-tracer",
        help="Have this package of the SDK trace the engines here; UNSPOOL_NEURON_PYTHON names its Python.",
    ),
]
PipelineCoresFlag = Annotated[
    int | None,
    _compiling("--inf1-pipeline-cores", min=1, help="Of torch-neuron: over how many cores a graph is spread."),
]
DynamicBatchFlag = Annotated[
    bool, _compiling("--inf1-dynamic-batch", help="Of torch-neuron: take any size of the first dimension.")
]
NoFallbackFlag = Annotated[
    bool, _compiling("--inf1-no-fallback", help="Of torch-neuron: fail where an operator would run on the host.")
]
MinimumSegmentFlag = Annotated[
    int,
    _compiling("--inf1-minimum-segment", min=1, help="Of torch-neuron: fewest operators that are compiled together."),
]
FusionRatioFlag = Annotated[
    float,
    _compiling(
        "--inf1-fusion-ratio",
        min=0,
        max=1,
        help="Of torch-neuron: share of operators from which one piece is enough.",
    ),
]
SeparateWeightsFlag = Annotated[
    bool, _compiling("--inf1-separate-weights", help="Of torch-neuron: for more than 1.9 GB of weights.")
]


def said(parameters: Mapping[str, Any], *fields: str) -> Mapping[str, object]:
    """The fields of `NeuronOptions`, of these if some are named, that flags were given for.

    `parameters` are those of a command, by name.
    """
    from compiler.neuron_flags import FLAGS

    given = {field: parameters[FLAGS[field].removeprefix("--").replace("-", "_")] for field in fields or FLAGS}
    return {
        field: tuple(value) if isinstance(value, list) else value
        for field, value in given.items()
        if value not in (None, [])
    }
