"""Digests of files that were read before. A file of the same size, time and inode is taken for the same file."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from artifacts.canonical import sha256_file
from compiler.zoo.ledger import Ledger

_SETTLED = 2_000_000_000
"""Nanoseconds: a file that was written less than this before it was read may be written again in the same tick."""

Mark = tuple[int, int, int]
"""Size in bytes, time of the last change in nanoseconds, inode."""


def mark_of(status: os.stat_result) -> Mark:
    """What is another after a file was written."""
    return (status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(eq=False)
class FileIndex:
    """SHA-256 of files by their marks. `new` is what was read and is not in the ledger yet."""

    known: dict[str, tuple[Mark, str]] = field(default_factory=dict)
    new: dict[str, tuple[Mark, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, ledger: Ledger) -> FileIndex:
        """What the ledger knows."""
        rows = ledger.database.execute("SELECT path, bytes, mtime_ns, inode, sha256 FROM files")
        return cls({row[0]: (tuple(row[1:4]), row[4]) for row in rows})

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file. Raises OSError."""
        name = str(path.absolute())
        status = path.stat()
        mark = mark_of(status)
        found = self.new.get(name) or self.known.get(name)
        if found is not None and found[0] == mark:
            return found[1]
        began = time.time_ns()
        digest = sha256_file(path)
        if mark_of(path.stat()) == mark and began - status.st_mtime_ns > _SETTLED:
            self.new[name] = (mark, digest)
        return digest

    def save(self, ledger: Ledger) -> None:
        """Put into the ledger what is new."""
        with ledger.together():
            ledger.database.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                [(name, *mark, digest) for name, (mark, digest) in self.new.items()],
            )
        self.known |= self.new
        self.new = {}
