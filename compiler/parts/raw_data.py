"""Where in an ONNX file the bytes of its initializers lie, so that another file can refer to them.

A walk over the fields of the protobuf messages on the way, in which nothing is decoded or copied. The numbers are
those of onnx.proto3: a format cannot change them.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_NAME, _TENSOR_RAW_DATA = 7, 5, 8, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Place:
    """Bytes of a file."""

    offset: int
    length: int


def raw_data_places(path: Path) -> dict[str, Place]:
    """The place of each initializer of the main graph whose data is in the file as raw bytes, by its name.

    The file is one that onnx has read already: of one that is no protobuf message, IndexError or ValueError tells.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return {
            bytes(data[name.offset : name.offset + name.length]).decode(): raw
            for graph in _fields(data, Place(0, len(data)), _MODEL_GRAPH)
            for tensor in _fields(data, graph, _GRAPH_INITIALIZER)
            # Of a field that is there several times the last one counts.
            for name in [*_fields(data, tensor, _TENSOR_NAME)][-1:]
            for raw in [*_fields(data, tensor, _TENSOR_RAW_DATA)][-1:]
        }


def _fields(data: mmap.mmap, message: Place, number: int) -> Iterator[Place]:
    """Where the contents of a message's fields of one number and of the type "bytes" lie."""
    at, end = message.offset, message.offset + message.length
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _BYTES:
            length, at = _varint(data, at)
            if key >> 3 == number:
                yield Place(at, length)
            at += length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"no protobuf field has the type {kind}")


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
