"""Look into an HLO module: its instructions, what they are of, and how many there are."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, replace
from typing import Any

_CALLED = re.compile(r"(?:to_apply|calls|body|condition)=%?([\w.-]+)")
_COMMENT = re.compile(r"/\*.*?\*/")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_STRUCTURE = frozenset({"parameter", "constant", "tuple", "get-tuple-element"})


@dataclass(frozen=True)
class Instruction:
    """One instruction, as HLO's text has it: `opcode` in its spelling, `source` the source's node, "" if there is none.

    `text` is all of it, types and attributes, without the metadata; a root is the result of its computation.
    """

    name: str
    opcode: str
    text: str
    source: str
    computation: str
    is_root: bool


def instructions(data: bytes) -> tuple[Instruction, ...]:
    """Every instruction of a module, those of called computations too; these are of the node that calls them.

    Raises ValueError for bytes that are no module.
    """
    hlo: Any = importlib.import_module("jaxlib._hlo")
    try:
        module = hlo.HloModule.from_serialized_hlo_module_proto(data)
    except RuntimeError as error:
        raise ValueError(str(error).split("\n")[0]) from error
    found = [
        _instruction(each, computation.name)
        for computation in module.computations()
        for each in computation.instructions()
    ]
    callers = {called: each for each in found for called in _CALLED.findall(each.text)}

    def source_of(each: Instruction) -> str:
        caller = callers.get(each.computation)
        return each.source or ("" if caller is None else source_of(caller))

    return tuple(replace(each, source=source_of(each)) for each in found)


def _instruction(found: Any, computation: str) -> Instruction:
    text, _, metadata = found.to_string().partition(", metadata={")
    named = _OP_NAME.search(metadata)
    source = _source(named[1] if named else "")
    return Instruction(found.name, _opcode(text), text, source, computation, is_root=not found.users())


def count_instructions(data: bytes) -> int:
    """How many instructions of a module compute something, wherever they are called from, each once.

    A compiler makes more of each, as many as its operands have tiles: what this tells is how modules compare.
    """
    return sum(found.opcode not in _STRUCTURE for found in instructions(data))


def _opcode(text: str) -> str:
    """The word before the operands: `%x = f32[2]{0} add(...)`."""
    # Of a wide tuple every fifth type is numbered in a comment: /*index=5*/.
    found = re.search(r"=\s+(?:\(.*?\)|\S+)\s+([a-z][a-z0-9-]*)\(", _COMMENT.sub("", text))
    return found[1] if found else ""


def _source(op_name: str) -> str:
    """The part of a path of scopes that names the source's node: `jit(f)/node/add` is of `node`."""
    _, *scopes = op_name.split("/")
    return scopes[0] if len(scopes) > 1 and not scopes[0].startswith("jit(") else ""
