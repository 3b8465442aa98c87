"""The variables of a NEFF's graph, as its `sgNN/def.json` lists them: what goes in, what comes out, and constants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeGuard

from pydantic import JsonValue

from artifacts.errors import BundleError, Problem
from artifacts.neff_header import HINT, STAGE, fault

_CONSTANT = "file"
"""What the type of a constant is called: its bytes are in a member of the archive."""

_SHAPES = ("shape", "framework_shape", "internal_shape")
_MOST_BYTES = (1 << 63) - 1
_MOST_PROBLEMS = 100


@dataclass(frozen=True)
class Variable:
    """A variable of the graph `graph`, "sg00".

    `kind` is its type: input, output, constant, or another by the name that the file has for it. `bytes`, `dtype` and
    `shape` are None where the file does not say them, `file` is the member that holds a constant.
    """

    graph: str
    name: str
    kind: str
    bytes: int | None
    dtype: str | None
    shape: tuple[int, ...] | None
    file: str | None


def variables_of(document: JsonValue, graph: str, subject: str) -> list[Variable]:
    """The variables of a definition, in its order; none if it has no `var`. Raises BundleError about `subject`."""
    table = document.get("var", {}) if isinstance(document, dict) else None
    if not isinstance(table, dict):
        raise fault(subject, "is no definition of a graph: an object is needed, and one that is called var")
    variables, problems = [], []
    for name, entry in table.items():
        wrong = list(_wrong(entry))
        problems += [Problem(STAGE, f"{subject}: {name[:200]}", message, HINT) for message in wrong]
        if isinstance(entry, dict) and not wrong:
            variables.append(_variable(graph, name, entry))
        if len(problems) >= _MOST_PROBLEMS:
            break
    BundleError.raise_if(problems)
    return variables


def _wrong(entry: JsonValue) -> Iterator[str]:
    """What contradicts the documentation, of which only the type and the size of a variable are part."""
    if not isinstance(entry, dict):
        yield "is a variable that is no object"
        return
    kind = entry.get("type")
    if not isinstance(kind, str):
        yield "is a variable without a type"
    size = entry.get("size")
    if size is not None and not (_is_count(size) and size <= _MOST_BYTES):
        yield f"is a variable of size {str(size)[:40]}"


def _variable(graph: str, name: str, entry: dict[str, JsonValue]) -> Variable:
    kind, size = entry["type"], entry.get("size")
    dtype, file = entry.get("dtype"), entry.get("file_name")
    shapes = (entry.get(key) for key in _SHAPES)
    assert isinstance(kind, str)
    return Variable(
        graph=graph,
        name=name,
        kind="constant" if kind == _CONSTANT else kind,
        bytes=size if _is_count(size) else None,
        dtype=dtype if isinstance(dtype, str) else None,
        shape=next((shape for shape in map(_shape, shapes) if shape is not None), None),
        file=file if kind == _CONSTANT and isinstance(file, str) else None,
    )


def _shape(value: JsonValue) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not all(map(_is_count, value)):
        return None
    return tuple(filter(_is_count, value))


def _is_count(value: JsonValue) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
