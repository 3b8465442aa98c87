"""YAML as JSON's values, and where in the file each of them is. No tag makes an object of a class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
_MERGE = "tag:yaml.org,2002:merge"
_COLLECTIONS = {"tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}


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
        message = f"is not YAML: {str(error).partition(chr(10))[0]}"
        raise UsageError.of(STAGE, str(path), message, "write it as docs/zoo.md shows") from error
    UsageError.raise_if(reading.problems)
    marks = reading.marks or {(): Mark(1, 1)}
    return YamlFile(path, value, marks)


_Pairs = dict[str, tuple[yaml.Node, yaml.Node]]
"""Keys and values of a mapping, by name."""


class _Reading:
    """One way through the nodes of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.marks: dict[Place, Mark] = {}
        self.problems: list[Problem] = []
        self.pairs: dict[int, _Pairs] = {}

    def value(self, loader: Any, node: yaml.Node, place: Place, within: tuple[yaml.Node, ...]) -> Any:
        self.marks[place] = _mark(node)
        if len(self.marks) > MOST_VALUES or len(place) > DEEPEST:
            raise UsageError.of(STAGE, self._at(node), "holds too many values, or too deep ones", "use fewer aliases")
        if any(node is outer for outer in within):
            return self._wrong(node, "is a part of itself", "an alias names something that ended before")
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
            return self._wrong(node, f"has the tag {node.tag}", "leave it out")
        if isinstance(node, yaml.SequenceNode):
            return [self.value(loader, each, (*place, n), (*within, node)) for n, each in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, place, within)
        return self._scalar(loader, node)

    def _scalar(self, loader: Any, node: yaml.Node) -> Any:
        try:
            found = loader.construct_object(node)
        except (ValueError, KeyError):  # the 13th month, or a tag that says what the text is not
            return self._wrong(node, f"cannot be read as {node.tag.rpartition(':')[2]}", "quote it, and it is text")
        if not isinstance(found, _PLAIN):
            return self._wrong(node, f"is read as {type(found).__name__}", "quote it, and it is text")
        if isinstance(found, float) and not math.isfinite(found):
            return self._wrong(node, "is no number that JSON has", "give one that is finite")
        return found

    def _mapping(self, loader: Any, node: yaml.MappingNode, place: Place, within: tuple[yaml.Node, ...]) -> Any:
        found: dict[str, Any] = {}
        for name, (key, each) in self._pairs(loader, node, ()).items():
            found[name] = self.value(loader, each, (*place, name), (*within, node))
            self.marks[(*place, name)] = _mark(key)
        return found

    def _own(self, loader: Any, node: yaml.MappingNode) -> _Pairs:
        """The pairs that a mapping has itself, by name."""
        found: _Pairs = {}
        for key, each in node.value:
            if key.tag == _MERGE:
                continue
            name = self._scalar(loader, key) if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str):
                self._wrong(key, "is no name", "a key is text: quote numbers, and words such as yes and null")
            elif name in found:
                self._wrong(key, f"{name!r} is given twice", "leave out one of them")
            else:
                found[name] = (key, each)
        return found

    def _pairs(self, loader: Any, node: yaml.MappingNode, within: tuple[yaml.Node, ...]) -> _Pairs:
        """The pairs of a mapping with those that `<<` takes from others, of which the first that has a name counts.

        Each mapping is looked at once, however often it is named: nine lines of `<<` can stand for a billion pairs.
        """
        if id(node) in self.pairs:
            return self.pairs[id(node)]
        found = self._own(loader, node)
        for key, each in node.value:
            for other in self._merged(each) if key.tag == _MERGE else ():
                if any(other is outer for outer in (*within, node)):
                    self._wrong(key, "is a part of itself", "an alias names something that ended before")
                else:
                    found = {**self._pairs(loader, other, (*within, node)), **found}
        self.pairs[id(node)] = found
        return found

    def _merged(self, node: yaml.Node) -> Iterator[yaml.MappingNode]:
        """The mappings that a `<<` names."""
        for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(each, yaml.MappingNode):
                yield each
            else:
                self._wrong(each, "is no mapping that << could take from", "name one, or a list of them")

    def _wrong(self, node: yaml.Node, message: str, hint: str) -> None:
        self.problems.append(Problem(STAGE, self._at(node), message, hint))

    def _at(self, node: yaml.Node) -> str:
        mark = _mark(node)
        return f"{self.path}:{mark.line}:{mark.column}"


def _mark(node: yaml.Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)
