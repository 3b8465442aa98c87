"""Values that functions of one decode hand to each other: encoder outputs that steps take, and slots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from artifacts.decode_inputs import DecodeInputs
from artifacts.schedule import Decode
from artifacts.spec import TensorSpec
from passes.program import Program


@dataclass(frozen=True)
class Port:
    """One end of a value: an input or an output of a function, by its place in the signature."""

    function: str
    is_input: bool
    place: int


@dataclass(frozen=True)
class Border:
    """A value that never leaves a decode, and every input and output that it goes through, all of one type."""

    ports: tuple[tuple[Port, TensorSpec], ...]


def borders(program: Program) -> Iterator[Border]:
    """The values that functions of one model alone hand to each other, in the order of the models."""
    callers = [name for model in program.models.values() for name in model.schedule.functions]
    for model in program.models.values():
        schedule = model.schedule
        if isinstance(schedule, Decode) and all(callers.count(name) == 1 for name in schedule.functions):
            signatures = {name: program.functions[name].signature for name in schedule.functions}
            yield from _borders(DecodeInputs(schedule, signatures, model.signature))


def _borders(given: DecodeInputs) -> Iterator[Border]:
    schedule = given.schedule
    encoded = [spec.name for spec in given.encoded]
    names = {name: {name} for name in (*encoded, *(n for s in schedule.slots for n in (s.input, s.output)))}
    for slot in schedule.slots:
        kind, _, source = slot.init.partition(":")
        joined = names[slot.input] | names[slot.output] | (names[source] if kind == "encoder" else set())
        names |= dict.fromkeys(joined, joined)
    for group in {id(group): group for group in names.values()}.values():
        yield Border(tuple(_ports(given, group, set(encoded))))


def _ports(given: DecodeInputs, group: set[str], encoded: set[str]) -> Iterator[tuple[Port, TensorSpec]]:
    """Where the names of a group occur: an output of a step is a slot's if a slot says so."""
    schedule = given.schedule
    outputs = {slot.output for slot in schedule.slots}
    inputs = encoded | {slot.input for slot in schedule.slots}
    for name, signature in given.signatures.items():
        made = encoded if name == schedule.encoder else outputs
        for place, spec in enumerate(signature.inputs):
            if name in given.steps and spec.name in group & inputs:
                yield Port(name, True, place), spec
        for place, spec in enumerate(signature.outputs):
            if spec.name in group & made and name != schedule.choice:
                yield Port(name, False, place), spec
