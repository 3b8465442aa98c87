"""The members of a NEFF's archive, in one pass over its bytes. Nothing is unpacked: no name in it becomes a path.

`tarfile` in stream mode is not used. It reads a long name or an extended header of any size into memory, takes a
broken header for the end, and knows no limits. A NEFF needs little of tar: files and folders, long names, and the
extended headers of pax, which compilers write.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field

from artifacts.errors import BundleError, Problem
from artifacts.neff_header import HINT, STAGE, fault
from artifacts.neff_stream import Limits, Payload
from artifacts.tar_header import BLOCK, data_bytes, kind_of, padding, parsed

_LONGEST_NAME = 4096
_LONGEST_EXTENSION = 64 * 1024
_MOST_PROBLEMS = 100
_RECORD = re.compile(rb"([0-9]{1,5}) ")
_SIZE = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True)
class Found:
    """A member: its name without a leading "./", its size, and its bytes if they were wanted."""

    name: str
    size: int
    folder: bool
    data: bytes | None


@dataclass
class _Extension:
    """What the headers before a member say about it: pax before a long name, a long name before its own header."""

    path: str | None = None
    long_name: str | None = None
    size: int | None = None
    sparse: bool = False
    any: bool = False


@dataclass
class Walk:
    """One way through an archive.

    `wanted` says of a name and a size whether the bytes are kept. Raises BundleError with all problems at once: of a
    member that is no file and no folder, has a name that leads elsewhere, or is there twice. An archive that cannot be
    followed any further is one error.
    """

    payload: Payload
    subject: str
    limits: Limits
    wanted: Callable[[str, int], bool]
    problems: list[Problem] = field(default_factory=list)
    folders: dict[str, bool] = field(default_factory=dict)
    """By the names that there were: whether it is one."""
    named: int = 0
    """Bytes of headers about members, and characters of their names."""

    def members(self) -> list[Found]:
        """Every member, in order, after which the payload is at its end."""
        try:
            members = self._members()
        except BundleError as error:
            raise BundleError(*self.problems, *error.problems) from error
        BundleError.raise_if(self.problems)
        return members

    def _members(self) -> list[Found]:
        members: list[Found] = []
        extension = _Extension()
        for _ in range(self.limits.headers):
            block = self._exactly(BLOCK, "a header")
            if block == bytes(BLOCK):
                self._end(extension)
                return members
            info = parsed(block)
            if info is None:
                raise fault(self.subject, f"has an archive that cannot be read: no header after {self._last(members)}")
            if info.type in _EXTENSIONS:
                self._extend(extension, info)
                continue
            found = self._member(info, extension)
            self._count(len(found.name))
            if found.name not in {"", "."}:
                members.append(found)
            extension = _Extension()
            if len(self.problems) >= _MOST_PROBLEMS:
                raise fault(self.subject, "has more such members, which were not looked at")
        raise fault(self.subject, f"is refused: its archive has more than {self.limits.headers} headers")

    def _member(self, info: tarfile.TarInfo, extension: _Extension) -> Found:
        name = extension.path or extension.long_name or info.name
        if extension.size is not None:
            info.size = extension.size
        plain = name.removeprefix("./").rstrip("/")
        if info.type == tarfile.GNUTYPE_SPARSE or extension.sparse:
            raise fault(self.subject, f"has a sparse file, which no NEFF has: {_shown(name)}")
        if not info.isreg() and not info.isdir():
            self._problem(name, f"{kind_of(info)}, which no NEFF has")
        elif name.startswith("/") or ".." in name.split("/") or "\0" in name:
            self._problem(name, "has a name that leads out of the archive")
        elif not plain and not info.isdir():
            self._problem(name, "has no name")
        elif plain in self.folders and not (info.isdir() and self.folders[plain]):
            self._problem(name, "is there more than once")
        self.folders[plain] = info.isdir()
        size, left = (info.size, data_bytes(info)) if not info.isdir() else (0, 0)
        data = None
        if info.isreg() and self.wanted(plain, size):
            data = self._exactly(size, name)
            left -= size
        self._skip(left, name)
        return Found(plain, size, info.isdir(), data)

    def _extend(self, extension: _Extension, info: tarfile.TarInfo) -> None:
        if info.size > _LONGEST_EXTENSION:
            raise fault(self.subject, f"is refused: a header about a member has {info.size} bytes")
        self._count(info.size)
        data = self._exactly(info.size, "a header about a member")
        self._skip(len(padding(info.size)), "a header about a member")
        extension.any = True
        if info.type == tarfile.GNUTYPE_LONGNAME:
            extension.long_name = self._name(data.partition(b"\0")[0])
        elif info.type in {tarfile.XHDTYPE, tarfile.XGLTYPE}:
            records = self._records(data)
            if info.type == tarfile.XGLTYPE:
                if records.keys() & {"path", "size"}:
                    raise fault(self.subject, "has an archive that says one name or size of all members")
                return
            if "path" in records:
                extension.path = self._name(records["path"])
            if "size" in records:
                extension.size = self._size(records["size"])
            extension.sparse |= any(key.startswith("GNU.sparse.") for key in records)

    def _records(self, data: bytes) -> dict[str, bytes]:
        """The records of an extended header, "LENGTH KEY=VALUE" and a new line; the last of a key counts."""
        records: dict[str, bytes] = {}
        at = 0
        while at < len(data):
            match = _RECORD.match(data, at)
            end = at + int(match[1]) if match else 0
            if match is None or not match.end() < end <= len(data) or data[end - 1 : end] != b"\n":
                raise fault(self.subject, "has an archive with an extended header that cannot be read")
            key, equals, value = data[match.end() : end - 1].partition(b"=")
            if not equals:
                raise fault(self.subject, "has an archive with an extended header that cannot be read")
            records[key.decode("utf-8", "backslashreplace")] = value
            at = end
        return records

    def _name(self, data: bytes) -> str:
        if not data or len(data) > _LONGEST_NAME:
            raise fault(self.subject, f"has a member whose name has {len(data)} bytes")
        return data.decode("utf-8", "backslashreplace")

    def _size(self, data: bytes) -> int:
        text = data.decode("utf-8", "backslashreplace")
        if not _SIZE.fullmatch(text):
            raise fault(self.subject, f"has a member of size {text[:40]!r}")
        return int(text)

    def _end(self, extension: _Extension) -> None:
        if extension.any:
            raise fault(self.subject, "has a header about a member that does not come")
        while data := self.payload.read(1 << 20):
            if data.strip(b"\0"):
                raise fault(self.subject, "has bytes after the end of its archive that belong to nothing")

    def _count(self, count: int) -> None:
        self.named += count
        if self.named > self.limits.names:
            raise fault(self.subject, f"is refused: the names of its members take more than {self.limits.names} bytes")

    def _exactly(self, count: int, what: str) -> bytes:
        parts = []
        while count:
            data = self.payload.read(count)
            if not data:
                raise self._cut(what)
            parts.append(data)
            count -= len(data)
        return b"".join(parts)

    def _skip(self, count: int, what: str) -> None:
        while count:
            data = self.payload.read(count)
            if not data:
                raise self._cut(what)
            count -= len(data)

    def _cut(self, what: str) -> BundleError:
        return fault(self.subject, f"has an archive that is cut off: it ends within {_shown(what)}")

    def _problem(self, name: str, message: str) -> None:
        self.problems.append(Problem(STAGE, f"{self.subject}: {_shown(name)}", message, HINT))

    def _last(self, members: list[Found]) -> str:
        return _shown(members[-1].name) if members else "its beginning"


_EXTENSIONS = frozenset({tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE})


def _shown(name: str) -> str:
    return name[:200] or "a member without a name"
