"""Whether the tensors of an ONNX file are whole and, where their bytes lie in other files, where they may lie."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import onnx
from onnx import TensorProto

from artifacts.errors import Problem
from passes.onnx_to_torch.external_data import resolve_external
from passes.onnx_to_torch.graph_problems import STAGE, graphs_and_nodes

_COMPLEX = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)


_UNNUMBERED = {"FLOAT": "32", "DOUBLE": "64", "BOOL": "8"}

BITS: Mapping[int, int] = MappingProxyType(
    {
        value: int(bits[0])
        for name, value in TensorProto.DataType.items()
        if (bits := re.search(r"\d+", _UNNUMBERED.get(name, name)))
    }
)
"""Bits of an element by its type, which the type's name tells (FLOAT4E2M1); strings have no size."""


def tensor_problems(path: Path, folder: Path, proto: onnx.ModelProto, own: Collection[str] = ()) -> Iterator[Problem]:
    """Tensors whose bytes are missing, too few, too many, or outside the model's own folder; all of them.

    The model was read from `path`, where its initializers in `own` have their bytes. A file that is missing is one
    problem, however many tensors lie in it.
    """
    missing: dict[str, list[str]] = {}
    for tensor in tensors_of(proto):
        subject = f"{path.name}: tensor {tensor.name!r}"
        if tensor.data_type not in BITS and tensor.data_type != TensorProto.STRING:
            yield Problem(STAGE, subject, f"element type {tensor.data_type} is none that ONNX has")
        elif any(size < 0 for size in tensor.dims):
            yield Problem(STAGE, subject, f"has the shape {list(tensor.dims)}")
        elif lies_in(tensor, path, own):
            yield from _length_problems(subject, int(_entries(tensor)["length"]), tensor_nbytes(tensor), "bytes")
        elif tensor.data_location == TensorProto.EXTERNAL:
            location = _entries(tensor).get("location", "")
            file = resolve_external(folder, location)
            size = None if file is None else _size(file)
            if file is not None and size is None:
                missing.setdefault(location, []).append(subject)
            else:
                yield from _external_problems(subject, location, size, tensor)
        else:
            yield from _inline_problems(subject, tensor)
    for location, (first, *others) in missing.items():
        more = f", and {len(others)} more tensors lie in it" if others else ""
        yield Problem(STAGE, first, f"external data file {location!r} is missing{more}")


def external_location(tensor: TensorProto) -> str | None:
    """The file that a tensor's bytes are in, as the model names it; None if they are in the model."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return None
    return _entries(tensor).get("location", "")


def lies_in(tensor: TensorProto, path: Path, own: Collection[str]) -> bool:
    """True for a tensor that refers to its place in the model's file at `path`, as its initializers in `own` do."""
    return tensor.name in own and external_location(tensor) == path.resolve().name


def tensors_of(proto: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model: initializers and attributes, those of subgraphs and functions included."""
    graphs, nodes = graphs_and_nodes(proto)
    for graph in graphs:
        yield from graph.initializer
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from [attribute.t] if attribute.HasField("t") else []
        yield from attribute.tensors


def _external_problems(subject: str, location: str, size: int | None, tensor: TensorProto) -> Iterator[Problem]:
    """What is wrong with a tensor in a file of so many bytes; None if the file is not inside the model's folder."""
    entries = _entries(tensor)
    if size is None:
        hint = "keep a model and its data in one folder"
        yield Problem(STAGE, subject, f"external data {location!r} is not inside the model's folder", hint)
        return
    if tensor.data_type == TensorProto.STRING:
        yield Problem(STAGE, subject, "strings cannot be external data")
        return
    needed = tensor_nbytes(tensor)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
    except ValueError:
        yield Problem(STAGE, subject, f"external data {location!r} has an offset or length that is no number")
        return
    if min(offset, length) < 0 or offset + length > size:
        yield Problem(STAGE, subject, f"bytes {offset}..{offset + length} lie outside {location!r} ({size} bytes)")
    elif length != needed:
        yield Problem(STAGE, subject, f"external data holds {length} bytes, its shape needs {needed}")


def _inline_problems(subject: str, tensor: TensorProto) -> Iterator[Problem]:
    kind = tensor.data_type
    if tensor.HasField("raw_data") and kind != TensorProto.STRING:
        needed, found, unit = tensor_nbytes(tensor), len(tensor.raw_data), "bytes"
    else:
        # Types below one byte are packed, one byte in an int32.
        packed = kind != TensorProto.STRING and BITS[kind] < 8
        needed = tensor_nbytes(tensor) if packed else math.prod(tensor.dims) * (2 if kind in _COMPLEX else 1)
        fields = (tensor.float_data, tensor.double_data, tensor.int32_data, tensor.int64_data, tensor.uint64_data)
        found, unit = sum(map(len, fields)) + len(tensor.string_data), "elements"
    yield from _length_problems(subject, found, needed, unit)


def _length_problems(subject: str, found: int, needed: int, unit: str) -> Iterator[Problem]:
    if found != needed:
        yield Problem(STAGE, subject, f"holds {found} {unit}, its shape needs {needed}", "is the file whole?")


def _size(file: Path) -> int | None:
    """Bytes of a file, None if there is none (or its name is one that no file can have)."""
    try:
        return file.stat().st_size if file.is_file() else None
    except OSError:
        return None


def tensor_nbytes(tensor: TensorProto) -> int:
    """Bytes that the elements of a tensor need by its shape and type, which is not strings."""
    bits: int = math.prod(tensor.dims) * BITS[tensor.data_type]
    return (bits + 7) // 8


def _entries(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}
