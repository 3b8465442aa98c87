"""What neuron-cc, the compiler of Inf1, is not documented to take, found in an HLO module before it is called.

Inf1's documents have one list of XLA's operators, some with limits, and another of torch's. torch-neuron, which traces
for it, leaves operators that the compiler does not take to the host, unless told not to: so they are warnings, and
errors without that. A module in which nothing is found may be refused nevertheless.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal

from compiler.hlo.instructions import Instruction, instructions
from compiler.neuron.inf1_operators import ATEN, XLA
from compiler.neuron.preflight import Finding, Preflight, has_dynamic_size, has_type, odd_reducer

_STRUCTURE = frozenset({"", "parameter", "call"})
"""What computes nothing; "" is what the text of a module does not tell, a tuple of many say."""

_SAME_VALUES = frozenset({"broadcast", "convert", "copy", "reshape"})
_LIST = "AWS's list of XLA operators for Inf1"


def inf1_preflight(*, fallback: bool) -> Preflight:
    """Finds everything in a module, in the order of its instructions; `fallback` leaves to the host what may be."""
    return partial(_preflight, fallback=fallback)


def _preflight(data: bytes, *, fallback: bool) -> tuple[Finding, ...]:
    every = instructions(data)
    named = {found.name: found for found in every}
    roots = {found.computation: found for found in every if found.is_root}
    return tuple(
        Finding(severity=severity, code="", instruction=found.name, source=found.source, message=message)
        for found in every
        for severity, message in (*_refused(found, fallback=fallback), *_limits(found, named, roots))
    )


def _refused(found: Instruction, *, fallback: bool) -> Iterator[tuple[Literal["error", "warning"], str]]:
    if has_type("c64", "c128")(found):
        yield "error", "complex numbers are not supported"
    if has_type("f64")(found):
        yield "error", "float64 is not supported"
    if has_dynamic_size(found):
        yield "error", "a size is dynamic"
    opcode = found.opcode
    if opcode in ATEN:
        yield "warning", f"{opcode} is not in {_LIST}; torch-neuron's release notes name {ATEN[opcode]}"
    elif opcode not in XLA | _STRUCTURE:
        where = "torch-neuron may leave it to the host" if fallback else "and nothing is left to the host"
        yield "warning" if fallback else "error", f"{opcode} is not in {_LIST}; {where}"


def _limits(
    found: Instruction, named: Mapping[str, Instruction], roots: Mapping[str, Instruction]
) -> Iterator[tuple[Literal["warning"], str]]:
    operands = [named[name] for name in _operands(found) if name in named]
    if found.opcode == "dynamic-update-slice" and not all(_is_constant(each, named) for each in operands[2:]):
        yield "warning", "updates a slice whose place is computed; documented are constant places"
    if found.opcode == "gather" and not _numbers(found, "start_index_map") <= _numbers(found, "collapsed_slice_dims"):
        yield "warning", "gathers slices along the axes that it looks up; documented is a gather where none are both"
    if found.opcode == "power" and not _is_whole(operands[1:], named):
        yield "warning", "raises to a power that is no constant whole number; documented are those"
    if found.opcode == "reduce" and (by := odd_reducer(found, roots)):
        yield "warning", f"reduces by {by}; documented are minimum, maximum, add and multiply"
    if found.opcode == "reduce" and not all(_is_constant(each, named) for each in operands[len(operands) // 2 :]):
        yield "warning", "reduces from a value that is computed; documented are constants"
    if found.opcode in {"rng", "rng-bit-generator"}:
        yield "warning", "draws random numbers, with no regard to a seed, as is documented"


def _operands(found: Instruction) -> list[str]:
    called = re.search(rf"\b{re.escape(found.opcode)}\((.*?)\)", found.text)
    return re.findall(r"%([\w.-]+)", called[1]) if called else []


def _is_constant(found: Instruction, named: Mapping[str, Instruction]) -> bool:
    if found.opcode == "constant":
        return True
    operands = [named[name] for name in _operands(found) if name in named]
    return found.opcode in _SAME_VALUES and bool(operands) and all(_is_constant(each, named) for each in operands)


def _is_whole(exponent: list[Instruction], named: Mapping[str, Instruction]) -> bool:
    """Whether an exponent, of one instruction, is a constant that is a whole number."""
    found = exponent[0] if exponent else None
    while found is not None and found.opcode in _SAME_VALUES:
        found = next((named[name] for name in _operands(found) if name in named), None)
    value = re.search(r"constant\((-?\d+)\)", found.text) if found is not None else None
    return value is not None


def _numbers(found: Instruction, attribute: str) -> set[int]:
    match = re.search(rf"{attribute}={{([\d,]*)}}", found.text)
    return {int(number) for number in match[1].split(",") if number} if match else set()
