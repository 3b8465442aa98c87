"""A packed bundle: one tar archive, a function of the manifest alone but for the last member.

    manifest.json       first, so that a reader knows all other names, sizes and digests before they come
    every listed file   in the order of their paths
    build.json          last, if the bundle has one

Members are uncompressed, owned by nobody, of no time and of mode 0644. Their headers are ustar, with a pax header
where a path or a size needs one; the end is that of tar's records of 10,240 bytes. Any tar opens it.

A reader knows which header each listed file must have and takes no other: nothing in an archive decides where a
byte goes. Headers that are not those are read only to say what is wrong with them.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from artifacts.bundle import MAX_MANIFEST_BYTES
from artifacts.canonical import BLOCK_BYTES
from artifacts.errors import BundleError, Problem
from artifacts.manifest import MANIFEST_FILE, REPORT_FILE, Manifest
from artifacts.tar_header import BLOCK, data_bytes, kind_of, padding, parsed

STAGE = "unpack"
MAX_REPORT_BYTES = 64 * 1024 * 1024
"""Of build.json, whose size no manifest bounds."""

_RECORD = tarfile.RECORDSIZE
_MOST_STRANGERS = 1000
"""Members beyond those of the bundle, after which a reader has seen enough."""


def header(path: str, size: int) -> bytes:
    """What precedes the bytes of a member: the same for the same path and size."""
    info = tarfile.TarInfo(path)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT)


def ending(size: int) -> bytes:
    """What follows the last member of an archive of so many bytes."""
    return bytes(2 * BLOCK + -(size + 2 * BLOCK) % _RECORD)


def packed_order(manifest: Manifest) -> list[str]:
    """The paths of the listed files, in the order in which they are packed."""
    return sorted(manifest.files)


@dataclass(frozen=True)
class Member:
    """A file within an archive: `bytes` bytes at byte `offset`."""

    path: str
    offset: int
    bytes: int


def _end(member: Member) -> int:
    """Where the next header begins."""
    return member.offset + member.bytes + len(padding(member.bytes))


@dataclass(frozen=True)
class Contents:
    """What an archive holds: the bundle's manifest, and where its other files are, in the archive's order."""

    manifest: Manifest
    members: Mapping[str, Member]


@dataclass(frozen=True)
class Archive:
    """An archive that is open for reading. `name` is what errors call it."""

    file: FileIO
    name: str
    size: int

    @classmethod
    def of(cls, file: FileIO, path: Path) -> Archive:
        """Raises BundleError unless it is a regular file: its size bounds whatever its headers say."""
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BundleError.of(STAGE, str(path), "is not a regular file", "name the file that `unspool pack` wrote")
        return cls(file, str(path), status.st_size)

    def read(self, member: Member) -> Iterator[memoryview]:
        """The bytes of a member, block by block; each is gone when the next one comes. Raises BundleError."""
        self.file.seek(member.offset)
        left, block = member.bytes, memoryview(bytearray(min(BLOCK_BYTES, member.bytes)))
        while left:
            part = block[: min(left, len(block))]
            count = self._read_into(part)
            if not count:
                raise self.fault(member.path, "ends too early: the file became shorter while it was read")
            yield part[:count]
            left -= count

    def contents(self) -> tuple[Contents, list[Problem]]:
        """Read every header, and say what is wrong with any. Raises BundleError if there is no manifest to go by."""
        size, begin = self._manifest_size()
        manifest = Manifest.from_bytes(self.at(begin, size))
        walk = _Walk(self, manifest)
        problems = list(walk.problems(Member(MANIFEST_FILE, begin, size)))
        return Contents(manifest, walk.members), problems

    def fault(self, subject: str, message: str) -> BundleError:
        """An error about a member or a place of the archive."""
        return BundleError(self.problem(subject, message))

    def problem(self, subject: str, message: str) -> Problem:
        """Something that is wrong with a member or a place of the archive."""
        return Problem(STAGE, f"{self.name}: {subject}", message, "pack the bundle again, or copy the file again")

    def _manifest_size(self) -> tuple[int, int]:
        info = parsed(self.at(0, BLOCK))
        if info is None or info.name != MANIFEST_FILE:
            raise self.fault(MANIFEST_FILE, "is not what the file begins with: it is no packed bundle")
        expected = header(MANIFEST_FILE, info.size)
        if self.at(0, len(expected)) != expected:
            raise self.fault(MANIFEST_FILE, f"{kind_of(info)}: {_UNLIKE}")
        if info.size > MAX_MANIFEST_BYTES:
            raise self.fault(MANIFEST_FILE, f"is too large: {info.size} bytes")
        if len(expected) + info.size > self.size:
            raise self.fault(MANIFEST_FILE, "is cut off")
        return info.size, len(expected)

    def at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes at an offset; fewer at the end of the file."""
        try:
            self.file.seek(offset)
            return self.file.read(count)
        except OSError as error:
            raise self.fault(f"byte {offset}", f"cannot be read: {error.strerror}") from error

    def _read_into(self, part: memoryview) -> int:
        try:
            return self.file.readinto(part) or 0
        except OSError as error:
            raise BundleError.of(STAGE, self.name, f"cannot be read: {error.strerror}") from error


class _Walk:
    """One way through the headers after the manifest's."""

    def __init__(self, archive: Archive, manifest: Manifest) -> None:
        self.archive = archive
        self.members: dict[str, Member] = {}
        self.listed = {path: manifest.files[path].bytes for path in packed_order(manifest)}
        self.paths = {header(path, size): path for path, size in self.listed.items()}
        self.lengths = sorted({len(known) for known in self.paths})
        self.places = {path: place for place, path in enumerate((*self.listed, REPORT_FILE))}

    def problems(self, manifest: Member) -> Iterator[Problem]:
        yield from self._faults_after(manifest)
        offset, strangers = _end(manifest), set[str]()
        for _ in range(len(self.listed) + _MOST_STRANGERS):
            block = self.archive.at(offset, BLOCK)
            if block == bytes(BLOCK):
                yield from self._faults_at_end(offset, strangers)
                return
            member = self._known(offset, block)
            if member is None:
                info = parsed(block)
                if info is None:
                    yield self.archive.problem(f"byte {offset}", "no header of a file, and not the end of an archive")
                    return
                strangers.add(info.name)
                yield self.archive.problem(_shown(info.name), self._why_not(info))
                offset += BLOCK + data_bytes(info)
            else:
                offset = _end(member)
                if offset <= self.archive.size:
                    yield from self._take(member)
            if offset > self.archive.size:
                yield self.archive.problem(member.path if member else "the last member", "is cut off")
                return
        yield self.archive.problem("the rest", f"was not read: {_MOST_STRANGERS} members or more do not belong")

    def _known(self, offset: int, block: bytes) -> Member | None:
        """The member that begins here, if its header is the very one that a file of the bundle has."""
        for length in self.lengths:
            path = self.paths.get(block if length == BLOCK else self.archive.at(offset, length))
            if path is not None:
                return Member(path, offset + length, self.listed[path])
        info = parsed(block)
        if info is not None and info.name == REPORT_FILE and info.size <= MAX_REPORT_BYTES:
            return Member(REPORT_FILE, offset + BLOCK, info.size) if block == header(REPORT_FILE, info.size) else None
        return None

    def _take(self, member: Member) -> Iterator[Problem]:
        if member.path in self.members:
            yield self.archive.problem(member.path, "is there more than once")
            return
        last = next(reversed(self.members), None)
        if last is not None and self.places[last] > self.places[member.path]:
            yield self.archive.problem(member.path, f"is not in its place: it comes after {last}")
        self.members[member.path] = member
        yield from self._faults_after(member)

    def _faults_after(self, member: Member) -> Iterator[Problem]:
        zeros = padding(member.bytes)
        if self.archive.at(member.offset + member.bytes, len(zeros)) != zeros:
            yield self.archive.problem(member.path, "is followed by bytes that belong to no file")

    def _why_not(self, info: tarfile.TarInfo) -> str:
        """Why a member is not one of the bundle's."""
        if not info.isreg() or info.sparse is not None:
            return f"{kind_of(info)}; a packed bundle holds regular files only"
        if info.name == REPORT_FILE and info.size > MAX_REPORT_BYTES:
            return f"is too large: {info.size} bytes"
        size = self.listed.get(info.name)
        if size is None and info.name != REPORT_FILE:
            return "is not in the manifest"
        if size is not None and size != info.size:
            return f"has {info.size} bytes, the manifest says {size}"
        return _UNLIKE

    def _faults_at_end(self, offset: int, told: set[str]) -> Iterator[Problem]:
        for path in self.listed:
            if path not in self.members and path not in told:
                yield self.archive.problem(path, "is missing")
        expected = ending(offset)
        if self.archive.at(offset, len(expected) + 1) != expected:
            yield self.archive.problem("its end", "is not that of an archive, or something follows it")


_UNLIKE = "its header is not the one that `unspool pack` writes: an owner, a time, a mode or another field differs"


def _shown(name: str) -> str:
    return name or "a member without a name"
