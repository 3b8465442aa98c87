"""Requests with known answers: what a bundle carries so that it can be verified with no source model at hand."""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.bundle import Bundle
from artifacts.dtype import DType
from artifacts.errors import BundleError

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Sample:
    """One request: the model's inputs by name, and what the source model answered.

    `decoded` holds the `tokens` and `lengths` that the source decodes greedily under the model's schedule, at
    most as many tokens as `tokens` has columns; empty for a model that is called once.
    """

    inputs: Arrays
    outputs: Arrays
    decoded: Arrays = field(default_factory=lambda: MappingProxyType({}))


def stored_samples(bundle: Bundle, model: str) -> tuple[Sample, ...]:
    """The samples that a bundle holds for one of its models.

    Raises BundleError if one cannot be read, or lacks an input or an output of the model's.
    """
    entry = bundle.manifest.models[model]
    inputs = {spec.name for spec in entry.signature.inputs}
    outputs = {spec.name for spec in entry.signature.outputs}
    return tuple(
        Sample(
            _holding(inputs, bundle.root, files.inputs),
            _holding(outputs, bundle.root, files.outputs),
            _decoded(bundle.root, files.decoded) if files.decoded else MappingProxyType({}),
        )
        for files in entry.samples
    )


def _holding(names: Iterable[str], root: Path, file: str) -> Arrays:
    arrays = read_arrays(root / file)
    missing = sorted(set(names) - arrays.keys())
    if missing:
        raise BundleError.of("samples", file, f"lacks {', '.join(missing)}, which the model's signature has")
    return arrays


def _decoded(root: Path, file: str) -> Arrays:
    arrays = _holding(("tokens", "lengths"), root, file)
    tokens, lengths = arrays["tokens"], arrays["lengths"]
    if tokens.ndim != 2 or lengths.shape != tokens.shape[:1] or {tokens.dtype, lengths.dtype} != {np.dtype(np.int64)}:
        raise BundleError.of("samples", file, "does not hold int64 tokens [batch, n] and lengths [batch]")
    return {"tokens": tokens, "lengths": lengths}


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an .npz by name; nothing in it is run. Raises BundleError if it is not such a file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            arrays = {member.filename.removesuffix(_SUFFIX): _array(archive, member) for member in members}
    except _UNREADABLE as error:
        raise BundleError.of("samples", str(path), f"is not an .npz of arrays by name: {error}") from error
    if len(arrays) != len(members):
        raise BundleError.of("samples", str(path), "is not an .npz of arrays by name: a name occurs twice")
    return arrays


def archive_bytes(arrays: Arrays) -> bytes:
    """A compressed .npz, the same bytes for the same arrays.

    Unlike `numpy.savez` it takes any name: there, arrays called `file` or `allow_pickle` are taken for options. It is
    compressed by bzip2, whose output, unlike deflate's, is the same whichever build of its library made it.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(name + _SUFFIX)  # unlike a name, it has a fixed date
            entry.compress_type = zipfile.ZIP_BZIP2
            # Sizes are not known to zipfile before they are written.
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


_SUFFIX = ".npy"

# What zipfile and numpy raise on damaged files. Theirs are parsers: they do not promise one kind of error.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    OverflowError,
    NotImplementedError,  # a way of compressing that zipfile lacks
    RuntimeError,  # an encrypted member
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """One member as a writeable array. Raises one of `_UNREADABLE`."""
    if not member.filename.endswith(_SUFFIX):
        raise ValueError(f"{member.filename!r} is not an array")
    data = archive.read(member)  # to its end, where zipfile compares the checksum
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"{member.filename!r} has the format version {version}")
    shape, is_fortran, dtype = read_header(stream)
    DType.of(dtype)  # no objects, no records, no text
    if any(size < 0 for size in shape):
        raise ValueError(f"{member.filename!r} has the shape {shape}")
    elements = np.frombuffer(data, dtype, offset=stream.tell())
    return elements.reshape(shape, order="F" if is_fortran else "C").copy()
