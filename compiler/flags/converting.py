"""Flags of every command that converts models."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

ConverterFlag = Annotated[
    Literal["unspool", "onnx2torch"],
    typer.Option(help="Who turns ONNX into PyTorch; onnx2torch is a second opinion.", rich_help_panel="Conversion"),
]
CustomOpsFlag = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE|FILE.py",
        help="Code with converters of your own operators; may be given several times. It is run.",
        rich_help_panel="Conversion",
    ),
]
