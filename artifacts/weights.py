"""The weight store: one content exists once, and tensors are views on it.

A blob is named by the SHA-256 of its raw little-endian bytes and by nothing else, so tensors that share bytes
share a blob whatever their names, shapes or element types. A `WeightRef` is a view on a blob: a reshape, or a
slice on axis 0, is a reference that has no bytes of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from artifacts.canonical import sha256_bytes
from artifacts.carriers import in_carrier
from artifacts.dtype import DType
from artifacts.mapped_pages import give_back_pages
from artifacts.names import Sha256
from artifacts.noun import Noun

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Size = Annotated[int, Field(ge=0)]


class WeightRef(Noun):
    """A tensor as a view on a blob: `shape` elements of `dtype`, in C order, from byte `offset` on.

    Elements of a low-precision type lie in the blob as their carrier; types below one byte are not packed.
    """

    digest: Sha256
    dtype: DType
    shape: tuple[Size, ...]
    offset: Size = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the view covers in its blob."""
        return self.size * self.dtype.numpy.itemsize

    def reshaped(self, shape: tuple[int, ...]) -> WeightRef:
        """The same elements in another shape (sizes only, no -1). Raises ValueError if the sizes disagree."""
        if math.prod(shape) != self.size or any(dim < 0 for dim in shape):
            raise ValueError(f"cannot reshape {self.shape} to {shape}")
        return self.model_copy(update={"shape": shape})

    def rows(self, start: int, stop: int) -> WeightRef:
        """Rows start to stop (exclusive) of axis 0. Raises ValueError unless 0 <= start <= stop <= rows."""
        if not self.shape or not 0 <= start <= stop <= self.shape[0]:
            raise ValueError(f"no rows {start}:{stop} in shape {self.shape}")
        row_bytes = math.prod(self.shape[1:]) * self.dtype.numpy.itemsize
        shape = (stop - start, *self.shape[1:])
        return self.model_copy(update={"shape": shape, "offset": self.offset + start * row_bytes})


@dataclass(frozen=True, eq=False)
class WeightStore:
    """An immutable mapping from digest to content: `blobs` holds uint8 [n], read-only.

    Arrays are kept as they are: a contiguous one, a memory map in particular, is never copied, and whoever
    hands it over must not write to it any more. Pages of a map that were read through are given back.
    `digest_of` is a parameter for the tests of colliding digests alone.
    """

    blobs: Mapping[str, Bytes] = field(default_factory=lambda: MappingProxyType({}))
    digest_of: Callable[[memoryview], str] = sha256_bytes

    def with_tensor(self, array: npt.ArrayLike, dtype: DType | None = None) -> tuple[WeightStore, WeightRef]:
        """The store with one more tensor, and the reference to it. See `with_tensors`."""
        store, (ref,) = self.with_tensors([(array, dtype)])
        return store, ref

    def with_tensors(
        self, tensors: Iterable[tuple[npt.ArrayLike, DType | None]]
    ) -> tuple[WeightStore, tuple[WeightRef, ...]]:
        """The store with more tensors, and a reference to each in the same order.

        Each tensor is an array, either of the logical type itself or of its carrier, and the logical type
        (None: the array's own). Raises ValueError if array and type do not go together.
        """
        blobs = dict(self.blobs)
        refs = []
        for array, dtype in tensors:
            carried, logical = _carried(np.asarray(array), dtype)
            data = _flat_bytes(carried)
            digest = self.digest_of(data.data)
            give_back_pages(data)
            blobs[digest] = _merged(digest, blobs.get(digest), data)
            refs.append(WeightRef(digest=digest, dtype=logical, shape=carried.shape))
        return WeightStore(MappingProxyType(blobs), self.digest_of), tuple(refs)

    def merged(self, other: WeightStore) -> WeightStore:
        """The contents of both stores. Raises ValueError if one digest names two contents."""
        blobs = dict(self.blobs)
        for digest, data in other.blobs.items():
            blobs[digest] = _merged(digest, blobs.get(digest), data)
        return WeightStore(MappingProxyType(blobs), self.digest_of)

    def raw(self, ref: WeightRef) -> Bytes:
        """The bytes of a view, uint8 [nbytes], read-only, not copied.

        Raises KeyError if the content is not here, ValueError if the view reaches beyond it.
        """
        data = self.blobs[ref.digest]
        if ref.offset + ref.nbytes > data.nbytes:
            raise ValueError(f"{ref.nbytes} bytes at {ref.offset} reach beyond a blob of {data.nbytes} bytes")
        return data[ref.offset : ref.offset + ref.nbytes]

    def array(self, ref: WeightRef) -> Array:
        """The tensor as an array of its carrier type, read-only, not copied. Raises as `raw` does."""
        return self.raw(ref).view(ref.dtype.numpy.newbyteorder("<")).reshape(ref.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all contents, each counted once."""
        return sum(data.nbytes for data in self.blobs.values())

    def __len__(self) -> int:
        return len(self.blobs)

    def __contains__(self, digest: object) -> bool:
        return digest in self.blobs

    def __iter__(self) -> Iterator[str]:
        return iter(self.blobs)


def _merged(digest: str, known: Bytes | None, data: Bytes) -> Bytes:
    """The one content of a digest, after comparing every byte. Raises ValueError if there are two."""
    if known is None:
        return data
    same_memory = known.ctypes.data == data.ctypes.data and known.nbytes == data.nbytes
    if not same_memory and not _are_equal(known, data):
        raise ValueError(f"two different contents have the SHA-256 digest {digest}")
    return known


COMPARED_BYTES = 1 << 22
"""At one time: a comparison makes an answer for each byte."""


def _are_equal(one: Bytes, other: Bytes) -> bool:
    parts = [slice(begin, begin + COMPARED_BYTES) for begin in range(0, one.nbytes, COMPARED_BYTES)]
    found = one.nbytes == other.nbytes and all(np.array_equal(one[part], other[part]) for part in parts)
    give_back_pages(one)
    give_back_pages(other)
    return found


def _carried(array: Array, dtype: DType | None) -> tuple[Array, DType]:
    """The array in its little-endian carrier type, and the logical type."""
    logical = DType.of(array.dtype) if dtype is None else dtype
    carrier = logical.numpy.newbyteorder("<")
    if array.dtype == carrier:
        return array, logical
    if array.dtype.name == carrier.name:
        return array.astype(carrier), logical
    if array.dtype.name == logical.value and array.dtype.itemsize == carrier.itemsize:
        return in_carrier(array, logical).astype(carrier, copy=False), logical
    raise ValueError(f"an array of {array.dtype.name} cannot hold {logical}, which travels as {carrier.name}")


def _flat_bytes(array: Array) -> Bytes:
    """The elements as uint8 [nbytes], read-only; a copy only if they are not in C order already."""
    flat = np.asarray(np.ascontiguousarray(array)).reshape(-1).view(np.uint8)
    flat.flags.writeable = False
    return flat
