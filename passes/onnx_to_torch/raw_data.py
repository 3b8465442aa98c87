"""An ONNX file without the bytes of its large initializers, which are referred to where they lie in it.

A walk over the fields of the protobuf messages on the way, in which no weight is looked at: a protobuf parser would
hold the file and the message that it makes of it, twice the weights. The numbers are those of onnx.proto3: a format
cannot change them. Nothing here imports onnx.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

LARGE_BYTES = 1024
"""Raw data from this size on is referred to; shapes and axes stay in the graph, where they can be seen."""

_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW_DATA, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 2, 8, 9, 13, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_STRING, _EXTERNAL = 8, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class LeanMessage:
    """A serialized ModelProto whose initializers in `own` are external data in the model's own file, links followed."""

    data: bytes
    own: frozenset[str] = frozenset()


def lean_message(path: Path) -> LeanMessage:
    """The message of the file at `path`; whole if it has fields that protobuf skips and no place can be told behind.

    Whether it is a model's is for protobuf to say. A file with several hard links is read whole: libraries refuse
    external data that has them. Raises OSError.
    """
    file = path.resolve()
    own: set[str] = set()
    try:
        if file.stat().st_nlink == 1:
            with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return LeanMessage(_lean_model(data, file.name, own), frozenset(own))
    except (ValueError, IndexError):  # ValueError: an empty file cannot be mapped
        pass
    return LeanMessage(file.read_bytes())


@dataclass(frozen=True)
class _Field:
    """A field of a message: where it begins, its contents from `content` to `end`, and the number that a varint is."""

    number: int
    kind: int
    begin: int
    content: int
    end: int
    value: int = 0


def _lean_model(data: mmap.mmap, location: str, own: set[str]) -> bytes:
    def lean_graph(graph: _Field) -> bytes:
        return _replaced(data, graph.content, graph.end, _GRAPH_INITIALIZER, lean_tensor)

    def lean_tensor(tensor: _Field) -> bytes | None:
        return _lean_tensor(data, tensor, location, own)

    return _replaced(data, 0, len(data), _MODEL_GRAPH, lean_graph)


def _lean_tensor(data: mmap.mmap, tensor: _Field, location: str, own: set[str]) -> bytes | None:
    """The message of a tensor that refers to its raw data; None for one that stays as it is."""
    fields: dict[int, list[_Field]] = {}
    for field in _fields(data, tensor.content, tensor.end):
        fields.setdefault(field.number, []).append(field)
    raw, names = fields.get(_TENSOR_RAW_DATA, []), fields.get(_TENSOR_NAME, [])
    # onnx writes that a tensor lies in the message where it has loaded one that did not.
    placed = any(field.value == _EXTERNAL for field in fields.get(_TENSOR_DATA_LOCATION, []))
    is_elsewhere = placed or _TENSOR_EXTERNAL_DATA in fields
    is_text = any(field.value == _STRING for field in fields.get(_TENSOR_TYPE, []))
    if len(raw) != 1 or len(names) != 1 or is_elsewhere or is_text or raw[0].end - raw[0].content < LARGE_BYTES:
        return None
    name = data[names[0].content : names[0].end].decode()
    if name in own:
        return None
    own.add(name)
    entries = {"location": location, "offset": str(raw[0].content), "length": str(raw[0].end - raw[0].content)}
    return b"".join(
        [
            data[tensor.content : raw[0].begin],
            data[raw[0].end : tensor.end],
            *(_bytes_field(_TENSOR_EXTERNAL_DATA, _entry(key, value)) for key, value in entries.items()),
            _number(_TENSOR_DATA_LOCATION << 3 | _VARINT),
            _number(_EXTERNAL),
        ]
    )


def _entry(key: str, value: str) -> bytes:
    return _bytes_field(_ENTRY_KEY, key.encode()) + _bytes_field(_ENTRY_VALUE, value.encode())


def _replaced(
    data: mmap.mmap, begin: int, end: int, number: int, replacement: Callable[[_Field], bytes | None]
) -> bytes:
    """A message's bytes with new contents in its fields of one number; None leaves a field as it is."""
    pieces, kept = [], begin
    for field in _fields(data, begin, end):
        if field.number == number and field.kind == _BYTES:
            contents = replacement(field)
            if contents is not None:
                pieces += [data[kept : field.begin], _bytes_field(number, contents)]
                kept = field.end
    return b"".join([*pieces, data[kept:end]])


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[_Field]:
    """The fields of the message that lies from `at` to `end`. Raises ValueError or IndexError if it is none."""
    while at < end:
        begin, value = at, 0
        key, at = _varint(data, at)
        content, kind = at, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
        elif kind == _BYTES:
            length, content = _varint(data, at)
            at = content + length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"no protobuf field has the type {kind}")
        if at > end:
            raise ValueError(f"a field ends at byte {at}, its message at {end}")
        yield _Field(key >> 3, kind, begin, content, at, value)


_LONGEST_VARINT = 63
"""Bits before the last byte of the longest number."""


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """The number at a place, seven bits a byte and the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
        if shift > _LONGEST_VARINT:
            raise ValueError("a number of more than ten bytes")


def _number(value: int) -> bytes:
    """A varint."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _bytes_field(number: int, contents: bytes) -> bytes:
    return _number(number << 3 | _BYTES) + _number(len(contents)) + contents
