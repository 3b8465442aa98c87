"""Where the inputs of a decode come from: the caller, the encoder, or the step before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from artifacts.dtype import DType
from artifacts.schedule import Decode
from artifacts.spec import Signature, TensorSpec


@dataclass(frozen=True)
class SizeSource:
    """A tensor that is the same at every position, and its axis, which has a size that is asked for."""

    name: str
    axis: int


@dataclass(frozen=True)
class DecodeInputs:
    """A schedule with the signatures of its functions, and the source model's own.

    Names are one space: an encoder output feeds the step input of the same name, and what neither the encoder nor
    a step makes is the caller's.
    """

    schedule: Decode
    signatures: Mapping[str, Signature]
    source: Signature

    @property
    def encoded(self) -> tuple[TensorSpec, ...]:
        """What the encoder makes."""
        encoder = self.schedule.encoder
        return () if encoder is None else self.signatures[encoder].outputs

    @property
    def steps(self) -> tuple[str, ...]:
        """The functions that make a token, in calling order."""
        return self.schedule.steps

    def step_at(self, position: int) -> str:
        """The function that makes the token of a position."""
        return self.steps[0] if position == 0 else self.steps[-1]

    @property
    def token_type(self) -> DType:
        """The type in which steps take tokens."""
        return self.signatures[self.schedule.step].input(self.schedule.tokens).dtype

    @property
    def padded_length(self) -> int:
        """Length of padded tokens: the step's own, else that of the start token and all but the last one."""
        length = self.signatures[self.schedule.step].input(self.schedule.tokens).shape[1]
        return length if isinstance(length, int) else self.schedule.generation.max_new_tokens

    @property
    def first_tokens(self) -> list[int]:
        """What the first step is given of a row: the start token, padded where all tokens are."""
        rules = self.schedule.generation
        padding = self.padded_length - 1 if self.schedule.state == "padded" else 0
        return [rules.start] + [rules.pad] * padding

    @property
    def carried(self) -> frozenset[str]:
        """Inputs of a step that differ from position to position."""
        schedule = self.schedule
        position = () if schedule.position is None else (schedule.position,)
        return frozenset((schedule.tokens, *position, *(slot.input for slot in schedule.slots)))

    def is_callers(self, name: str) -> bool:
        """True for an input of a step that the caller gives."""
        return name not in self.carried and all(spec.name != name for spec in self.encoded)

    @property
    def callers(self) -> tuple[TensorSpec, ...]:
        """The caller's inputs, in the source model's words where it has them."""
        named = {spec.name: spec for spec in self.source.inputs}
        schedule = self.schedule
        found: dict[str, TensorSpec] = {}
        if schedule.encoder is not None:
            found |= {spec.name: named.get(spec.name, spec) for spec in self.signatures[schedule.encoder].inputs}
        for step in self.steps:
            for spec in self.signatures[step].inputs:
                if self.is_callers(spec.name):
                    found.setdefault(spec.name, named.get(spec.name, spec))
        return tuple(found.values())

    def fixed(self, step: str) -> tuple[TensorSpec, ...]:
        """The inputs of a step that are the same at every position: the caller's and the encoder's."""
        return tuple(spec for spec in self.signatures[step].inputs if spec.name not in self.carried)

    @property
    def rows(self) -> SizeSource | int:
        """What tells the number of rows: the token input's own size, or a caller's input that shares its symbol.

        Where none does, it is the first dimension that there is, and one row if there is none.
        """
        symbol = self.signatures[self.steps[0]].input(self.schedule.tokens).shape[0]
        if isinstance(symbol, int):
            return symbol
        for spec in self.callers:
            if symbol in spec.shape:
                return SizeSource(spec.name, spec.shape.index(symbol))
        return next((SizeSource(spec.name, 0) for spec in self.callers if spec.rank), 1)

    @property
    def row_axes(self) -> dict[str, int] | None:
        """The axis that counts rows, of each of the steps' fixed inputs that has one; None if their number is fixed."""
        symbols = {self.signatures[step].input(self.schedule.tokens).shape[0] for step in self.steps}
        if any(isinstance(symbol, int) for symbol in symbols):
            return None
        return {
            spec.name: axis
            for step in self.steps
            for spec in self.fixed(step)
            for axis, dim in enumerate(spec.shape)
            if dim in symbols
        }

    @property
    def can_drop_rows(self) -> bool:
        """Whether a decode can go on with some of its rows: a size that depends on their number is their number."""
        symbol = self.signatures[self.steps[0]].input(self.schedule.tokens).shape[0]
        rows = self.rows
        if isinstance(symbol, int) or isinstance(rows, int):
            return False
        source = next(spec for spec in self.callers if spec.name == rows.name)
        return source.shape[rows.axis] == symbol and all(
            [size_of_rows(symbol, dim) for dim in spec.shape] == [number == axis for number in range(spec.rank)]
            for spec, axis in self._with_row_axes(symbol)
        )

    def _with_row_axes(self, symbol: str) -> Iterator[tuple[TensorSpec, int | None]]:
        """What the steps take and hand on, and which axis has to count rows."""
        slots = {slot.input: slot.batch_axis for slot in self.schedule.slots}
        made = {slot.output: slot.batch_axis for slot in self.schedule.slots}
        for step in self.steps:
            signature = self.signatures[step]
            for spec in signature.inputs:
                found = spec.shape.index(symbol) if symbol in spec.shape else None
                yield spec, 0 if spec.name == self.schedule.tokens else slots.get(spec.name, found)
            yield from ((spec, made[spec.name]) for spec in signature.outputs if spec.name in made)


def size_of_rows(symbol: str, dim: int | str) -> bool | None:
    """Whether a dimension is the number of rows, which has this symbol; None if it is computed from it."""
    if dim == symbol:
        return True
    return None if isinstance(dim, str) and re.search(rf"(?<!\w){re.escape(symbol)}(?!\w)", dim) else False
