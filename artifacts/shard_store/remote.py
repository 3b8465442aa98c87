"""A store at a URL, through fsspec: no hard links, and no locks that a kernel drops.

Writers and gc see each other by what they write before they look:

- A writer announces what it needs, and then looks whether gc runs. It waits for that, and only then looks at a shard.
- gc makes its lock, which only one can make, and then reads what writers announced, and after that the claims.

So either the writer sees the lock, or gc sees what the writer needs; and since a claim is there before its announcement
goes, gc sees one of them. Who writes and was seen goes on writing while gc runs.

A lock of a gc that was killed stays, whatever its age: nobody can tell from elsewhere whether it lives. Whether a
writer lives can be told on its own machine only, where it holds the lock of a file; elsewhere it counts as alive.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from artifacts.canonical import BLOCK_BYTES, canonical_json
from artifacts.errors import MissingToolError, StoreError, UsageError
from artifacts.shard_store.alive import alive, forget, is_dead
from artifacts.shard_store.claims import STAGE, this_host
from artifacts.shard_store.faults import credentials_in, remote_faults, without_credentials
from artifacts.shard_store.files import Announcement, Parts, StoredFile
from artifacts.shard_store.local import DRAFTS, WRITERS

LOCK = "gc.json"

_UPLOAD_BYTES = 8 * 1024 * 1024
"""Of one part of an upload, and of one read: what is in memory of a shard. S3 takes 10,000 parts."""

_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
"""Places where what is uploaded appears when all of it is there. Elsewhere it is uploaded beside and then moved."""


@dataclass(frozen=True)
class RemoteFiles:
    """The files of a store below `root` of an fsspec file system. See `StoreFiles`.

    `hidden` are credentials that the URL has, and `patience` is how many seconds a writer waits for gc to end.
    """

    fs: Any
    root: str
    location: str
    is_whole: bool
    hidden: tuple[str, ...] = ()
    patience: float = 120.0

    @classmethod
    def open(cls, url: str) -> RemoteFiles:
        """Connect to the place; nothing is read yet.

        Raises MissingToolError if the package for it is not installed, UsageError if there is no such kind of place.
        """
        location, hidden = without_credentials(url), credentials_in(url)
        try:
            import fsspec.core
        except ModuleNotFoundError:
            raise MissingToolError.of(STAGE, "fsspec", "is not installed", 'pip install "unspool[store]"') from None
        scheme = url.partition("://")[0]
        if hidden and scheme in {"s3", "s3a"}:
            hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
            raise UsageError.of(STAGE, location, "a URL of S3 has no credentials in it", hint)
        try:
            fs, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, use_listings_cache=False)
        except ImportError as error:
            hint = 'pip install "unspool[s3]"' if scheme in {"s3", "s3a"} else f"install what fsspec needs for {scheme}"
            raise MissingToolError.of(STAGE, location, f"cannot be reached: {error}", hint) from None
        except ValueError as error:
            hint = "name a folder, or a URL such as s3://BUCKET/FOLDER"
            raise UsageError.of(
                STAGE, location, f"is no place for a store: {without_credentials(error, hidden)}", hint
            ) from None
        except remote_faults() as error:
            message = f"cannot be reached: {without_credentials(error, hidden)}"
            raise StoreError.of(STAGE, location, message, "is it there, and are its credentials set?") from None
        return cls(fs, root.rstrip("/"), location, scheme in _WHOLE, hidden)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Objects have no links."""
        with self.told():
            try:
                found = self.fs.find(self._name(folder), detail=True)
            except FileNotFoundError:
                found = {}
        for name, entry in sorted(found.items()):
            if entry["type"] == "file":
                yield StoredFile(name.removeprefix(self._name("")).lstrip("/"), entry["size"], is_linked=False)

    def holds(self, path: str, parts: Parts) -> bool:
        """By its size: the bytes would have to be sent. `verify` reads them."""
        with self.told():
            try:
                size = self.fs.info(self._name(path))["size"]
            except FileNotFoundError:
                return False
        return bool(size == sum(part.nbytes for part in parts))

    def put(self, path: str, parts: Parts, *, replace: bool = False) -> bool:
        """An upload that is visible when it is complete."""
        if not replace and self._exists(path):
            return False
        with self.told():
            if self.is_whole:
                try:
                    self._upload(self._name(path), parts, "wb" if replace else "xb")
                except FileExistsError:
                    return False
            else:
                beside = f"{DRAFTS}/{os.getpid()}-{secrets.token_hex(8)}"
                draft = self._name(beside)
                self._make_folder(beside)
                self._upload(draft, parts, "wb")
                self._make_folder(path)
                self.fs.mv(draft, self._name(path))
        return True

    def link(self, path: str, target: Path) -> bool:  # noqa: ARG002 - what every place is asked
        """Never."""
        return False

    def blocks(self, path: str) -> Iterator[memoryview]:
        """Requests of one size, whatever is asked for at a time."""
        with self.told(), self.fs.open(self._name(path), "rb", block_size=_UPLOAD_BYTES) as file:
            while block := file.read(BLOCK_BYTES):
                yield memoryview(block)

    def read(self, path: str) -> bytes:
        """The whole object."""
        with self.told():
            return bytes(self.fs.cat_file(self._name(path)))

    def write(self, path: str, data: bytes) -> None:
        """One upload."""
        with self.told():
            self._make_folder(path)
            self.fs.pipe_file(self._name(path), data)

    def delete(self, path: str) -> None:
        """Nothing if it is not there."""
        with self.told(), contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self._name(path))
        if path.startswith(f"{WRITERS}/"):
            forget(path)

    @contextlib.contextmanager
    def announce(self, path: str, data: bytes) -> Iterator[None]:
        """An object, and on this machine a file that is locked for as long as its writer lives."""
        with alive(path):
            try:
                self.write(path, data)
                yield
            finally:
                with contextlib.suppress(OSError):  # else gc on this machine finds that nobody holds its file
                    self.delete(path)

    def announced(self) -> Iterator[Announcement]:
        """Dead is who has left the file of this machine that it held."""
        for file in self.list(WRITERS):
            with contextlib.suppress(FileNotFoundError):
                yield Announcement(file.path, self.read(file.path), not is_dead(file.path))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Called by a writer that has announced what it needs: waits for a gc that began before."""
        deadline, pause = time.monotonic() + self.patience, 0.05
        while (holder := self._holder()) is not None:
            if time.monotonic() >= deadline:
                raise self._held(holder)
            time.sleep(pause)
            pause = min(2 * pause, 1.0)
        yield

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """An object that only one can make. Raises StoreError if another has, or if the place lets two make it."""
        mine = canonical_json({"host": this_host(), "process": os.getpid(), "mark": secrets.token_hex(16)})
        if not self._create(LOCK, mine) and self._holder() != mine:
            raise self._held(self._holder() or b"")
        try:
            if self._create(LOCK, mine):
                message = "does not keep one of two from making the same object (no conditional writes): gc is not safe"
                raise StoreError.of(STAGE, self.location, message, "run gc on a server that has them")
            yield
        finally:
            if self._holder() == mine:
                self.delete(LOCK)

    def sweep(self) -> None:
        """What uploads left that ended early; nothing while a writer lives, whose they may be."""
        if any(said.is_live for said in self.announced()):
            return
        for file in self.list(DRAFTS):
            self.delete(file.path)
        if hasattr(self.fs, "list_multipart_uploads"):
            bucket, _, prefix = self._name("shards/").partition("/")
            with self.told():
                for upload in self.fs.list_multipart_uploads(bucket):
                    if upload["Key"].startswith(prefix):
                        self.fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])

    def unlock(self) -> bool:
        """The lock of a gc that does not live any more; who asks knows that."""
        held = self._holder() is not None
        self.delete(LOCK)
        return held

    def _name(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def _make_folder(self, path: str) -> None:
        """The folder of a file, where places have folders."""
        if not self.is_whole:
            self.fs.makedirs(str(PurePosixPath(self._name(path)).parent), exist_ok=True)

    def _exists(self, path: str) -> bool:
        with self.told():
            try:
                self.fs.info(self._name(path))
            except FileNotFoundError:
                return False
        return True

    def _holder(self) -> bytes | None:
        try:
            return self.read(LOCK)
        except FileNotFoundError:
            return None

    def _held(self, holder: bytes) -> StoreError:
        who = holder.decode("utf-8", "replace").strip()[:200]
        hint = f"wait until it has ended; if it was killed: unspool store unlock {self.location}"
        return StoreError.of(STAGE, f"{self.location}/{LOCK}", f"gc runs, or was killed: {who}", hint)

    def _create(self, path: str, data: bytes) -> bool:
        """Make an object if there is none; False if there is one."""
        with self.told():
            try:
                self.fs.pipe_file(self._name(path), data, mode="create")
            except FileExistsError:
                return False
        return True

    def _upload(self, name: str, parts: Parts, mode: str) -> None:
        file = self.fs.open(name, mode, block_size=_UPLOAD_BYTES)
        try:
            for part in parts:
                for begin in range(0, part.nbytes, BLOCK_BYTES):
                    file.write(part[begin : begin + BLOCK_BYTES].tobytes())
            file.close()
        except BaseException:
            # Closing would complete the upload, and so does the garbage collector with a file that is not closed.
            with contextlib.suppress(*remote_faults()):
                file.discard()
            with contextlib.suppress(AttributeError):  # a file in memory cannot be told so, and need not
                file.closed = True
            raise

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Turn what a place's own package raises into OSError that shows no credentials."""
        try:
            yield
        except (FileNotFoundError, FileExistsError, StoreError):
            raise
        except remote_faults() as error:
            raise OSError(errno.EIO, without_credentials(error, self.hidden)) from None
