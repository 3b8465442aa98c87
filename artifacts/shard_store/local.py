"""A store in a folder: hard links, and locks that the kernel drops with the process that holds them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from artifacts.canonical import BLOCK_BYTES, file_blocks
from artifacts.shard_store.files import Announcement, Parts, StoredFile
from artifacts.swap import sync

DRAFTS = "drafts"
WRITERS = "writers"

_LOCK = "lock"
_GATE = "gate"
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)
"""Another file system, one without hard links or with a limit to them, or a kernel that protects others' files."""


@dataclass(frozen=True)
class LocalFiles:
    """The files of a store in the folder `root`. See `StoreFiles`."""

    root: Path

    @property
    def location(self) -> str:
        """The folder."""
        return str(self.root)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Regular files and whatever else is there, links not followed."""
        for path in sorted((self.root / folder).rglob("*")):
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                if not stat.S_ISDIR(status.st_mode):
                    name = path.relative_to(self.root).as_posix()
                    yield StoredFile(name, status.st_size, status.st_nlink > 1)

    def holds(self, path: str, parts: Parts) -> bool:
        """The file is mapped and compared."""
        file = self.root / path
        try:
            if file.stat().st_size != sum(part.nbytes for part in parts):
                return False
            data = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))
        except FileNotFoundError:
            return False
        end = 0
        for part in parts:
            for begin in range(0, part.nbytes, BLOCK_BYTES):
                block = part[begin : begin + BLOCK_BYTES]
                if not np.array_equal(data[end + begin : end + begin + block.nbytes], block):
                    return False
            end += part.nbytes
        return True

    def put(self, path: str, parts: Parts, *, replace: bool = False) -> bool:
        """A draft that is synced, and then linked to its name."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._draft() as draft:
            with draft.open("wb", buffering=0) as stream:
                for part in parts:
                    _write(stream.fileno(), part.data)
                # Others share its inode: who writes to their copy must not write to all.
                os.fchmod(stream.fileno(), file.parent.stat().st_mode & 0o444)
                os.fsync(stream.fileno())
            if replace:
                draft.replace(file)
            else:
                try:
                    os.link(draft, file)
                except FileExistsError:
                    return False
            sync(file.parent)
        return True

    def link(self, path: str, target: Path) -> bool:
        """A link beside the target, renamed to it."""
        file = self.root / path
        if target.exists() and target.samefile(file):
            return True
        beside = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
        try:
            os.link(file, beside)
        except OSError as error:
            if error.errno in _CANNOT_LINK:
                return False
            raise
        beside.replace(target)
        return True

    def blocks(self, path: str) -> Iterator[memoryview]:
        """One buffer that is filled again and again."""
        return file_blocks(self.root / path)

    def read(self, path: str) -> bytes:
        """The whole file."""
        return (self.root / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """A draft that is synced, and then renamed."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._draft() as draft:
            with draft.open("wb", buffering=0) as stream:
                _write(stream.fileno(), memoryview(data))
                os.fsync(stream.fileno())
            draft.replace(file)
            sync(file.parent)

    def delete(self, path: str) -> None:
        """One name of the file; other links stay."""
        (self.root / path).unlink(missing_ok=True)

    @contextlib.contextmanager
    def announce(self, path: str, data: bytes) -> Iterator[None]:
        """A file that is locked for as long as its writer lives.

        It appears whole and locked: of a writer that is killed, the system may give up the lock of `writing` before
        that of the file, and gc then takes it for alive.
        """
        file = self.root / path
        with contextlib.ExitStack() as stack:
            with self.writing(), self._draft() as draft:
                file.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                _write(descriptor, memoryview(data))
                draft.rename(file)
                stack.callback(file.unlink, missing_ok=True)
            yield

    def announced(self) -> Iterator[Announcement]:
        """Alive is who holds the lock of its file."""
        for file in self.list(WRITERS):
            with contextlib.suppress(FileNotFoundError), (self.root / file.path).open("rb+") as stream:
                is_live = not _try_lock(stream.fileno())
                yield Announcement(file.path, stream.read(), is_live)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Shared. Writers queue at the gate while someone waits to collect, or that one would wait for ever."""
        with contextlib.ExitStack() as gate:
            gate.enter_context(self._locked(_GATE, fcntl.LOCK_SH))
            with self._locked(_LOCK, fcntl.LOCK_SH):
                gate.close()
                yield

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Exclusive."""
        with self._locked(_GATE, fcntl.LOCK_EX), self._locked(_LOCK, fcntl.LOCK_EX):
            yield

    def sweep(self) -> None:
        """Nobody writes, so nobody needs them."""
        shutil.rmtree(self.root / DRAFTS, ignore_errors=True)

    def unlock(self) -> bool:
        """The kernel has done it."""
        return False

    @contextlib.contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        # Network file systems want the file open for writing for an exclusive lock, and a store may be read-only.
        access = os.O_RDONLY if how == fcntl.LOCK_SH else os.O_RDWR
        descriptor = os.open(self.root / name, access | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _draft(self) -> Iterator[Path]:
        folder = self.root / DRAFTS
        folder.mkdir(exist_ok=True)
        draft = folder / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(descriptor: int, data: memoryview) -> None:
    """All of it: one call writes at most 2 GiB."""
    left = data.cast("B")
    while left.nbytes:
        left = left[os.write(descriptor, left) :]
