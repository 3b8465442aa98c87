"""YAML as JSON's values, and where in the file each of them is. No tag makes an object of a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from artifacts.errors import Problem, UsageError

STAGE = "zoo"

MOST_BYTES = 16 * 1024 * 1024
MOST_VALUES = 200_000
"""Values of one file, those that aliases repeat counted each time: a file of nine lines can stand for a billion."""

DEEPEST = 50

Place = tuple[str | int, ...]
"""Where a value is: keys of mappings and positions in lists, from the outside in."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True, order=True)
class Mark:
    """A place in a file, both from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class YamlFile:
    """The value of a file, and the marks of all values in it."""

    path: Path
    value: Any
    marks: Mapping[Place, Mark]

    def subject(self, place: Sequence[str | int]) -> str:
        """`FILE:LINE:COLUMN` of a value, or of what it would be in. Elements that are no keys there do not count."""
        found: Place = ()
        for step in place:
            found = (*found, step) if (*found, step) in self.marks else found
        mark = self.marks[found]
        return f"{self.path}:{mark.line}:{mark.column}"


def read_yaml(path: Path) -> YamlFile:
    """Read one document. Raises UsageError with everything that is wrong with it as YAML."""
    try:
        data = path.read_bytes()
        if len(data) > MOST_BYTES:
            raise UsageError.of(STAGE, str(path), f"is too large: {len(data)} bytes", "split it into several")
        text = data.decode()
    except OSError as error:
        raise UsageError.of(STAGE, str(path), f"cannot be read: {error.strerror}", "name the zoo's file") from error
    except UnicodeDecodeError as error:
        raise UsageError.of(STAGE, str(path), f"is not UTF-8: {error.reason}", "save it as UTF-8") from error
    reading = _Reading(path)
    try:
        loader = _LOADER(text)
        node = loader.get_single_node()
        value = None if node is None else reading.value(loader, node, (), ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"
        message = f"is not YAML: {error.problem or error.context}"
        raise UsageError.of(STAGE, f"{path}{where}", message, "quote texts that hold `:`, `#` or `*`") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError.of(STAGE, str(path), f"is not YAML: {error}", "write it as docs/zoo.md shows") from error
    UsageError.raise_if(reading.problems)
    marks = reading.marks or {(): Mark(1, 1)}
    return YamlFile(path, value, marks)


class _Reading:
    """One way through the nodes of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.marks: dict[Place, Mark] = {}
        self.problems: list[Problem] = []

    def value(self, loader: Any, node: yaml.Node, place: Place, within: tuple[yaml.Node, ...]) -> Any:
        self.marks[place] = _mark(node)
        if len(self.marks) > MOST_VALUES or len(place) > DEEPEST:
            raise UsageError.of(STAGE, self._at(node), "holds too many values, or too deep ones", "use fewer aliases")
        if any(node is outer for outer in within):
            return self._wrong(node, "is a part of itself", "an alias names something that ended before")
        if isinstance(node, yaml.SequenceNode):
            return [self.value(loader, each, (*place, n), (*within, node)) for n, each in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, place, within)
        found = loader.construct_object(node)
        if not isinstance(found, _PLAIN):
            return self._wrong(node, f"is read as {type(found).__name__}", "quote it, and it is text")
        return found

    def _mapping(self, loader: Any, node: yaml.MappingNode, place: Place, within: tuple[yaml.Node, ...]) -> Any:
        own = [key for key, _ in node.value]
        loader.flatten_mapping(node)  # `<<: *other`, whose pairs come before the mapping's own
        found: dict[str, Any] = {}
        named: set[str] = set()
        for key, each in node.value:
            name = loader.construct_object(key) if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str):
                self._wrong(key, "is no name", "a key is text: quote numbers, and words such as yes and null")
            elif name in named:
                self._wrong(key, f"{name!r} is given twice", "leave out one of them")
            else:
                found[name] = self.value(loader, each, (*place, name), (*within, node))
                self.marks[(*place, name)] = _mark(key)
                if any(key is mine for mine in own):
                    named.add(name)
        return found

    def _wrong(self, node: yaml.Node, message: str, hint: str) -> None:
        self.problems.append(Problem(STAGE, self._at(node), message, hint))

    def _at(self, node: yaml.Node) -> str:
        mark = _mark(node)
        return f"{self.path}:{mark.line}:{mark.column}"


def _mark(node: yaml.Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)
