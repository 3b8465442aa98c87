"""What goes into a function and what comes out: names, element types, shapes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, model_validator

from artifacts.dtype import DType
from artifacts.noun import Noun

Dim = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]
"""A dimension: its size, or the name of a symbol that may differ from call to call."""


class TensorSpec(Noun):
    """One named tensor of a signature.

    `shape` holds sizes and symbols; equal symbols are equal sizes throughout a signature. `carrier` is set
    when the bytes of a low-precision `dtype` travel as another type (a bfloat16 as uint16, say).
    """

    name: Annotated[str, Field(min_length=1)]
    dtype: DType
    shape: tuple[Dim, ...]
    carrier: DType | None = None

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


class Signature(Noun):
    """Named inputs and outputs, in the source model's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Signature:
        for side, specs in (("input", self.inputs), ("output", self.outputs)):
            names = [spec.name for spec in specs]
            if len(set(names)) != len(names):
                raise ValueError(f"duplicate {side} name in {names}")
        return self

    def input(self, name: str) -> TensorSpec:
        """The input of that name. Raises KeyError."""
        return _by_name(self.inputs, name)

    def output(self, name: str) -> TensorSpec:
        """The output of that name. Raises KeyError."""
        return _by_name(self.outputs, name)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol of the inputs, in order of appearance."""
        return tuple(dict.fromkeys(d for spec in self.inputs for d in spec.shape if isinstance(d, str)))

    def __str__(self) -> str:
        ins = ", ".join(map(str, self.inputs))
        outs = ", ".join(map(str, self.outputs))
        return f"({ins}) -> ({outs})"


def _by_name(specs: Iterable[TensorSpec], name: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise KeyError(name)
