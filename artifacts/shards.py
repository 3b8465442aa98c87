"""Weights on disk: safetensors shards, written from pointers and mapped back without a copy.

The format (https://huggingface.co/docs/safetensors): 8 bytes little-endian header length n, n bytes of JSON
`{name: {"dtype", "shape", "data_offsets": [begin, end]}}`, then the data. Here a tensor's name is its blob's
digest, and a file's name the beginning of the file's own. Engines map tensors by byte offset into these files.

The reader is our own and needs numpy alone. It accepts less than the format allows: every byte of the data
belongs to exactly one tensor, and every tensor is aligned to its element size.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from artifacts.canonical import sha256_bytes, sha256_file
from artifacts.dtype import DType
from artifacts.errors import BundleError, Problem
from artifacts.mapped_pages import give_back_pages
from artifacts.names import SHA256_PATTERN, RelativePath, Sha256
from artifacts.noun import Noun
from artifacts.weights import Bytes, Size, WeightRef, WeightStore

WEIGHTS_FOLDER = "weights"
DEFAULT_SHARD_BYTES = 1 << 30
MAX_HEADER_BYTES = 100_000_000
"""The format's own bound."""

_STAGE = "weights"


@dataclass(frozen=True)
class ShardTensor:
    """One blob in a shard: `nbytes` at byte `offset` of the file, shown as `shape` elements of `dtype`."""

    digest: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class Shard(Noun):
    """One safetensors file: where it is in the bundle, its digest and its size. What it holds is in its header."""

    path: RelativePath
    sha256: Sha256
    bytes: Size


@dataclass(frozen=True)
class Location:
    """Where an engine finds a tensor: `nbytes` at byte `offset` of the bundle's file `path`."""

    path: str
    offset: int
    nbytes: int


class ShardIndex:
    """What shards hold, and where a tensor is by its digest. `tensors` are in file order, shard by shard."""

    def __init__(self, held: Mapping[Shard, Sequence[ShardTensor]]) -> None:
        self.shards = tuple(held)
        self.tensors = tuple(tensor for tensors in held.values() for tensor in tensors)
        self._tensors = {tensor.digest: (shard.path, tensor) for shard, tensors in held.items() for tensor in tensors}

    @classmethod
    def read(cls, root: Path, shards: Iterable[Shard]) -> ShardIndex:
        """From the headers of the shards in the bundle at `root`. Raises BundleError."""
        return cls({shard: read_shard(root, shard.path, verify=False)[0] for shard in shards})

    def locate(self, ref: WeightRef) -> Location:
        """The place of a view. Raises KeyError if no shard has the blob, ValueError if it is too small."""
        path, tensor = self._tensors[ref.digest]
        if ref.offset + ref.nbytes > tensor.nbytes:
            raise ValueError(f"{ref.nbytes} bytes at {ref.offset} reach beyond a blob of {tensor.nbytes} bytes")
        return Location(path, tensor.offset + ref.offset, ref.nbytes)


def shard_path(digest: str) -> str:
    """Where the shard with this digest is in a bundle."""
    return f"{WEIGHTS_FOLDER}/{digest[:_NAME_DIGITS]}.safetensors"


def write_shards(
    store: WeightStore, refs: Iterable[WeightRef], root: Path, limit: int = DEFAULT_SHARD_BYTES
) -> ShardIndex:
    """Write every blob that the references reach to `root/weights/NAME.safetensors`.

    Blobs go widest element first and then by digest, so that each is aligned to its element size, and that
    the same references give the same files in whatever order. A shard holds at most `limit` bytes of data
    unless a single tensor is larger. No references, no files. Raises KeyError if a content is missing,
    OSError if a write fails.
    """
    views: dict[str, list[WeightRef]] = {}
    for ref in refs:
        views.setdefault(ref.digest, []).append(ref)
    tensors = [_Shown.of(digest, store.blobs[digest], views[digest]) for digest in views]
    groups: list[list[_Shown]] = []
    room = 0
    for tensor in sorted(tensors, key=lambda tensor: (-tensor.dtype.numpy.itemsize, tensor.digest)):
        if not groups or tensor.data.nbytes > room:
            groups.append([])
            room = limit
        groups[-1].append(tensor)
        room -= tensor.data.nbytes
    return ShardIndex(dict(_write_shard(group, root) for group in groups))


def read_shard(root: Path, path: str, *, verify: bool = True) -> tuple[tuple[ShardTensor, ...], WeightStore]:
    """Map one shard of the bundle at `root`: its tensors in file order, its contents as views on the file.

    `verify` also computes the digest of each tensor. Raises BundleError with everything that is wrong.
    """
    try:
        data: Bytes = np.asarray(np.memmap(root / path, dtype=np.uint8, mode="r"))
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise BundleError.of(_STAGE, path, f"cannot be mapped: {error}") from error
    tensors = parse_header(data, path)
    blobs = {tensor.digest: data[tensor.offset : tensor.offset + tensor.nbytes] for tensor in tensors}
    if verify:
        BundleError.raise_if(
            Problem(_STAGE, f"{path}: {digest}", "the content does not have the digest that names it")
            for digest, blob in blobs.items()
            if sha256_bytes(blob.data) != digest
        )
    return tensors, WeightStore(MappingProxyType(blobs))


def mapped(store: WeightStore, shards: Iterable[Shard], root: Path) -> WeightStore:
    """The same contents, those in shards as views on the files below `root`; what is in no shard stays as it is."""
    blobs = dict(store.blobs)
    for shard in shards:
        blobs |= read_shard(root, shard.path, verify=False)[1].blobs
    return replace(store, blobs=MappingProxyType(blobs))


def parse_header(data: Bytes, subject: str) -> tuple[ShardTensor, ...]:
    """The tensors of a shard in file order, from its bytes uint8 [n]; nothing but the header is read.

    Raises BundleError unless the header is valid in full.
    """

    def fail(message: str) -> BundleError:
        return BundleError(Problem(_STAGE, subject, f"not a valid weight shard: {message}"))

    if data.nbytes < 8:
        raise fail(f"{data.nbytes} bytes are too few for a header")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > min(MAX_HEADER_BYTES, data.nbytes - 8):
        raise fail(f"a header of {length} bytes does not fit a file of {data.nbytes} bytes")
    try:
        header = json.loads(data[8 : 8 + length].tobytes().decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, or a key twice
        raise fail(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise fail("the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise fail("__metadata__ is not a map of strings")

    base = 8 + length
    try:
        tensors = [_tensor(name, entry, base) for name, entry in header.items()]
    except ValueError as error:
        raise fail(str(error)) from error
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
    end = base
    for tensor in tensors:
        if tensor.offset != end:
            raise fail(f"{tensor.digest} begins at byte {tensor.offset}, the data before it ends at {end}")
        if tensor.offset % tensor.dtype.numpy.itemsize:
            raise fail(f"{tensor.digest} is not aligned: {tensor.dtype} at byte {tensor.offset}")
        end += tensor.nbytes
    if end != data.nbytes:
        raise fail(f"the tensors end at byte {end}, the file at {data.nbytes}")
    return tuple(tensors)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _tensor(name: str, entry: object, base: int) -> ShardTensor:
    """One header entry, checked as far as it can be on its own. Raises ValueError."""
    if not re.fullmatch(SHA256_PATTERN, name):
        raise ValueError(f"{name!r} is not a digest")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of {name!r} is not dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = _DTYPE_OF_CODE.get(code) if isinstance(code, str) else None
    if dtype is None:
        raise ValueError(f"{name!r} has the unknown dtype {code!r}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{name!r} has a shape or offsets that are not sizes")
    nbytes = math.prod(shape) * dtype.numpy.itemsize
    if offsets[1] - offsets[0] != nbytes:
        raise ValueError(f"{name!r} takes {nbytes} bytes, its offsets are {offsets}")
    return ShardTensor(digest=name, dtype=dtype, shape=tuple(shape), offset=base + offsets[0], nbytes=nbytes)


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 63 for v in values
    )


@dataclass(frozen=True, eq=False)
class _Shown:
    """A blob as the tensor that people see who open the shard."""

    digest: str
    data: Bytes
    dtype: DType
    shape: tuple[int, ...]

    @classmethod
    def of(cls, digest: str, data: Bytes, views: Iterable[WeightRef]) -> _Shown:
        """The widest view, on whose alignment all views are aligned; then by name and shape."""
        shown = []
        for ref in views:
            dtype = _stored_as(ref.dtype)
            shape = (*ref.shape, 2) if ref.dtype is DType.COMPLEX128 else ref.shape
            if ref.nbytes != data.nbytes:  # a slice: the blob in its type, flat
                shape = (data.nbytes // dtype.numpy.itemsize,)
            if math.prod(shape) * dtype.numpy.itemsize == data.nbytes:
                shown.append((-dtype.numpy.itemsize, dtype, shape))
        _, dtype, shape = min(shown, default=(0, DType.UINT8, (data.nbytes,)))
        return cls(digest, data, dtype, shape)


def _stored_as(dtype: DType) -> DType:
    """The type that safetensors has for a logical type: itself, a part of it, or its carrier."""
    if dtype is DType.COMPLEX128:
        return DType.FLOAT64
    return dtype if dtype in _DTYPE_OF_CODE.values() else DType.of(dtype.numpy)


_NAME_DIGITS = 16
"""Of a shard's digest, in the name of its file, which an engine repeats for each of its weights."""


def _write_shard(tensors: Sequence[_Shown], root: Path) -> tuple[Shard, tuple[ShardTensor, ...]]:
    folder = root / WEIGHTS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "draft.safetensors"
    with draft.open("wb", buffering=0) as file:
        file.write(_header(tensors))
        for tensor in tensors:
            _write_all(file, tensor.data)
            give_back_pages(tensor.data)
    draft.chmod(folder.stat().st_mode & 0o666)  # a bundle is as readable as the folder it is in
    digest = sha256_file(draft)
    path = shard_path(digest)
    draft.replace(root / path)
    entries, _ = read_shard(root, path, verify=False)
    return Shard(path=path, sha256=digest, bytes=(root / path).stat().st_size), entries


def _header(tensors: Sequence[_Shown]) -> bytes:
    """The length and the entries, filled up with spaces to a multiple of 8 bytes as the format wants it."""
    ends = [*itertools.accumulate((tensor.data.nbytes for tensor in tensors), initial=0)]
    entries = {
        tensor.digest: {"dtype": _CODE_OF_DTYPE[tensor.dtype], "shape": tensor.shape, "data_offsets": offsets}
        for tensor, offsets in zip(tensors, itertools.pairwise(ends), strict=True)
    }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_all(file: io.FileIO, data: Bytes) -> None:
    """Write a content, of which one call may take a part."""
    left = data.data
    while left:
        left = left[file.write(left) :]


_DTYPE_OF_CODE: Mapping[str, DType] = {
    "BOOL": DType.BOOL,
    "U8": DType.UINT8,
    "I8": DType.INT8,
    "F8_E4M3": DType.FLOAT8_E4M3FN,
    "F8_E4M3FNUZ": DType.FLOAT8_E4M3FNUZ,
    "F8_E5M2": DType.FLOAT8_E5M2,
    "F8_E5M2FNUZ": DType.FLOAT8_E5M2FNUZ,
    "F8_E8M0": DType.FLOAT8_E8M0FNU,
    "U16": DType.UINT16,
    "I16": DType.INT16,
    "F16": DType.FLOAT16,
    "BF16": DType.BFLOAT16,
    "U32": DType.UINT32,
    "I32": DType.INT32,
    "F32": DType.FLOAT32,
    "U64": DType.UINT64,
    "I64": DType.INT64,
    "F64": DType.FLOAT64,
    "C64": DType.COMPLEX64,
}

_CODE_OF_DTYPE: Mapping[DType, str] = {dtype: code for code, dtype in _DTYPE_OF_CODE.items()}
