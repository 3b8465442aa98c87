"""Flags of commands that have AWS Neuron's compiler compile: what it is told, and how long it may take."""

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


def said(
    target: str | None,
    model_type: str | None,
    auto_cast: str | None,
    auto_cast_type: str | None,
    optlevel: int | None,
    logical_nc_config: int | None,
    fast_loading: bool | None,
    extra: list[str] | None,
) -> Mapping[str, object]:
    """The fields of `NeuronOptions` that flags were given for."""
    given = {
        "target": target,
        "model_type": model_type,
        "auto_cast": auto_cast,
        "auto_cast_type": auto_cast_type,
        "optlevel": optlevel,
        "logical_nc_config": logical_nc_config,
        "fast_loading": fast_loading,
        "extra": tuple(extra) if extra else None,
    }
    return {field: value for field, value in given.items() if value is not None}
