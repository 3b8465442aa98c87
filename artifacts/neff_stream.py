"""The bytes of a NEFF's archive, forwards and once: counted, hashed, and inflated where they are compressed.

Nothing is read ahead of what was asked for but a block, and no more comes out than a limit allows: a megabyte of gzip
can claim a gigabyte, and a header any number.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Protocol

from artifacts.canonical import BLOCK_BYTES
from artifacts.neff_header import NeffHeader, fault

Read = Callable[[int], bytes]
"""Up to so many bytes, none at the end."""

GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Limits:
    """How much is read of a NEFF before it is refused.

    expanded: bytes that may come out of any compressed archive
    ratio: how often its own size, for a large one
    headers: of members and of what belongs to them
    names: bytes of all members' names, and of headers that are about members
    document: bytes of a JSON member that is kept as it is; larger ones are named and left out
    definition: bytes of a JSON member that is looked into; the same
    definitions: bytes of all of those
    variables: of all definitions
    embedded: NEFFs in one traced model
    directory: bytes of a traced model's list of its members
    """

    expanded: int = 1 << 30
    ratio: int = 50
    headers: int = 100_000
    names: int = 16 << 20
    document: int = 64 << 10
    definition: int = 8 << 20
    definitions: int = 32 << 20
    variables: int = 200_000
    embedded: int = 256
    directory: int = 4 << 20

    def of_expanded(self, stored: int) -> int:
        """How many bytes may come out of so many."""
        return max(self.expanded, self.ratio * stored)


LIMITS = Limits()


@contextmanager
def opened(path: Path) -> Iterator[tuple[FileIO, int]]:
    """A regular file, open for reading, and its size. Raises BundleError, also if it cannot be read later on."""
    try:
        with FileIO(path, opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise fault(str(path), "is not a regular file", "name a file that a Neuron compiler wrote")
            yield file, status.st_size
    except OSError as error:
        raise fault(str(path), f"cannot be read: {error.strerror or error}") from error


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; of a pipe, not wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


class Payload(Protocol):
    """The archive's bytes."""

    def read(self, most: int) -> bytes:
        """Up to so many bytes, none at the end. Raises BundleError."""


class Stored:
    """The archive as it lies in the file. `digest` is that of what was read."""

    def __init__(self, read: Read, header: NeffHeader, subject: str) -> None:
        self._read = read
        self._subject = subject
        self._hash = hashlib.new(header.digest_kind, usedforsecurity=False)
        self._begin = b""
        self.left = header.data_bytes

    @property
    def digest(self) -> str:
        """In hexadecimal."""
        return self._hash.hexdigest()

    def begins_with(self, magic: bytes) -> bool:
        """Whether the archive does; to be asked before anything is read."""
        while len(self._begin) < len(magic) and (data := self._take(len(magic) - len(self._begin))):
            self._begin += data
        return self._begin == magic

    def read(self, most: int) -> bytes:
        """Up to so many bytes, none at the end."""
        if self._begin:
            data, self._begin = self._begin[:most], self._begin[most:]
            return data
        return self._take(most)

    def _take(self, most: int) -> bytes:
        data = self._read(min(most, self.left, BLOCK_BYTES))
        if not data and self.left and most:
            raise fault(self._subject, f"is cut off: {self.left} more bytes should follow")
        self.left -= len(data)
        self._hash.update(data)
        return data


class Inflated:
    """The archive, out of the gzip stream that is stored."""

    def __init__(self, stored: Stored, limit: int, subject: str) -> None:
        self._stored = stored
        self._subject = subject
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._limit = self._left = limit

    def read(self, most: int) -> bytes:
        """Up to so many bytes, none at the end."""
        most = min(most, BLOCK_BYTES)
        while most and not self._stream.eof:
            more = self._stream.unconsumed_tail or self._stored.read(BLOCK_BYTES)
            try:
                data = self._stream.decompress(more, most)
            except zlib.error as error:
                raise fault(self._subject, f"has a damaged gzip stream: {error}") from error
            if data:
                return self._counted(data)
            if not more and not self._stream.eof:
                raise fault(self._subject, "is cut off: its gzip stream does not end")
        if self._stream.unused_data or self._stored.left:
            raise fault(self._subject, "has bytes after its gzip stream that belong to nothing")
        return b""

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise fault(self._subject, f"is refused: more than {self._limit} bytes came out of its gzip stream")
        return data
