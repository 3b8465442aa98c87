"""The NEFFs inside a model that torch-neuronx traced: a TorchScript file, which is a zip archive.

How torch-neuronx puts a NEFF into it is not documented: it is part of a string or of a tensor, somewhere in a member.
So every member is read through for the header of one. Nothing is unpickled and torch is not needed.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO

from artifacts.canonical import BLOCK_BYTES
from artifacts.neff import Neff, read_archive
from artifacts.neff_header import HEADER_BYTES, fault, read_header
from artifacts.neff_stream import GZIP, LIMITS, Limits, Read, opened

HINT = "name a file that torch.jit.save wrote of a model traced for Neuron, with its weights or without"

_START = re.compile(rb"[\x01\x02]\0{7}\0\x04\0{6}.{5}\0{3}.\0{7}", re.DOTALL)
"""Package version 1 or 2, a header of 1024 bytes, less than a terabyte after it, a major version below 256."""

_PART = bytes(8) + b"\4" + bytes(6)
"""Of every start: sought first, because bytes are sought faster than a pattern."""

_START_BYTES = 32
_PLAUSIBLE_BYTES = HEADER_BYTES + 512
_TAR_MAGIC = slice(257, 262)
_MOST_STARTS = 100_000
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED = 1


@dataclass(frozen=True)
class EmbeddedNeff:
    """A NEFF that begins at byte `offset` of a member of the file."""

    member: str
    offset: int
    neff: Neff


def read_traced(path: Path, limits: Limits = LIMITS) -> tuple[EmbeddedNeff, ...]:
    """The NEFFs in a traced model, in the order of its members. Nothing is written.

    Raises BundleError, of the stage "neff", if the file is no zip archive or is damaged, if it holds no NEFF, if one
    that begins there is not whole or contradicts itself, or if more than `limits` allow would have to be read.
    """
    subject = str(path)
    with opened(path) as (file, size):
        try:
            found = tuple(_embedded(file, subject, size, limits))
        except (
            zipfile.BadZipFile,
            zlib.error,
            struct.error,
            EOFError,
            NotImplementedError,
            OverflowError,
            UnicodeDecodeError,
        ) as error:
            raise fault(
                subject, f"is no zip archive that is whole: {str(error)[:200] or 'it ends too early'}", HINT
            ) from error
    if not found:
        raise fault(subject, "holds no NEFF", HINT)
    return found


def _embedded(file: FileIO, subject: str, size: int, limits: Limits) -> Iterator[EmbeddedNeff]:
    budget, count = _Budget(subject, limits.expanded + size), 0
    with zipfile.ZipFile(_Directory(file, size, limits.directory)) as archive:
        for info in archive.infolist():
            where = f"{subject}: {info.filename[:200]}"
            _refuse_odd(info, where)
            with archive.open(info) as member:
                window = _Window(budget.counted(member))
                while budget.at_neff(window):
                    count += 1
                    if count > limits.embedded:
                        raise fault(subject, f"is refused: it holds more than {limits.embedded} NEFFs", HINT)
                    place = f"{where}, byte {window.offset}"
                    offset, rest = window.offset, info.file_size - window.offset - HEADER_BYTES
                    header = read_header(window.take(HEADER_BYTES), place, rest, exact=False)
                    yield EmbeddedNeff(info.filename, offset, read_archive(window.take, header, place, limits))


def _refuse_odd(info: zipfile.ZipInfo, where: str) -> None:
    """What zipfile would need much memory or a password for, and what contradicts itself."""
    if info.compress_type not in _METHODS or info.flag_bits & _ENCRYPTED:
        raise fault(where, "is compressed or locked as no TorchScript file is", HINT)
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise fault(where, f"says of itself that it has {info.file_size} bytes, and {info.compress_size}", HINT)


class _Window:
    """A member, read forwards; `offset` is where in it the next byte is."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._held = bytearray()
        self.offset = 0

    def at_start(self) -> bool:
        """Move to the next bytes that a header can begin with; whether there are any."""
        while self._fill(_PLAUSIBLE_BYTES) >= _START_BYTES:
            match = _START.search(self._held) if _PART in self._held else None
            if match is not None:
                at = match.start()
                del match  # a bytearray that is matched cannot shrink
                self._drop(at)
                return True
            self._drop(len(self._held) - _START_BYTES + 1)
        return False

    def plausible(self) -> bool:
        """Whether an archive follows where the header would end."""
        self._fill(_PLAUSIBLE_BYTES)
        archive = bytes(self._held[HEADER_BYTES:_PLAUSIBLE_BYTES])
        return archive.startswith(GZIP) or archive[_TAR_MAGIC] == b"ustar"

    def take(self, most: int) -> bytes:
        """The next bytes, up to so many, none at the end."""
        if not self._held:
            self._fill(1)
        data = bytes(self._held[:most])
        self._drop(len(data))
        return data

    def _fill(self, count: int) -> int:
        while len(self._held) < count and (data := self._read(BLOCK_BYTES)):
            self._held += data
        return len(self._held)

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self.offset += count


class _Budget:
    """How much of all members together may still be read, and tried: members can overlap, and be compressed."""

    def __init__(self, subject: str, limit: int) -> None:
        self._subject = subject
        self._limit = self._left = limit
        self._starts = _MOST_STARTS

    def counted(self, member: IO[bytes]) -> Read:
        """How to read a member."""

        def read(most: int) -> bytes:
            data = member.read(most)
            self._left -= len(data)
            if self._left < 0:
                raise fault(self._subject, f"is refused: its members have more than {self._limit} bytes", HINT)
            return data

        return read

    def at_neff(self, window: _Window) -> bool:
        """Move to what looks like a NEFF; whether there is one."""
        while window.at_start():
            if window.plausible():
                return True
            self._starts -= 1
            if not self._starts:
                raise fault(self._subject, "is refused: too much in it looks like the beginning of a NEFF", HINT)
            window.take(1)
        return False


class _Directory:
    """The file as zipfile reads it, which takes the list of all members into memory at once, however long it is."""

    def __init__(self, file: FileIO, size: int, limit: int) -> None:
        self._file, self._size, self._limit = file, size, limit
        self.tell, self.seekable = file.tell, file.seekable

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a byte. Raises BadZipFile if it lies before the first one."""
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            raise zipfile.BadZipFile("it refers to bytes before its first one") from error

    def read(self, count: int = -1) -> bytes:
        """So many bytes, or all that are left. Raises BadZipFile if that is more than the limit."""
        left = max(0, self._size - self.tell())
        if min(left, count if count >= 0 else left) > self._limit:
            raise zipfile.BadZipFile(f"its list of members has more than {self._limit} bytes")
        return self._file.read(min(left, count) if count >= 0 else left)
