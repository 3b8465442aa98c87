"""A bundle as one file to send, and back: the same bundle, byte for byte.

What is packed is a function of the bundle's files. What is unpacked is trusted in nothing: see artifacts/archive.py.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from artifacts.archive import (
    MAX_REPORT_BYTES,
    STAGE,
    Archive,
    Contents,
    Member,
    ending,
    header,
    packed_order,
)
from artifacts.bundle import Bundle
from artifacts.bundle_writer import BundleWriter, write_bundle
from artifacts.canonical import file_blocks, sha256_blocks
from artifacts.draft_file import draft_file
from artifacts.errors import BundleError, Problem, UsageError
from artifacts.manifest import MANIFEST_FILE, REPORT_FILE, Manifest
from artifacts.report import BuildReport
from artifacts.shard_store.store import ShardStore
from artifacts.shard_store.writer import share_shards
from artifacts.tar_header import padding

_PACK = "pack"

Progress = Callable[[int, int], None]
"""Called with how many bytes are done, and of how many."""


def _untold(_done: int, _total: int) -> None:
    """What is called where nobody asked."""


@dataclass(frozen=True)
class Unpacked:
    """A bundle that was unpacked, and what people should know about it."""

    bundle: Bundle
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Packed:
    """A bundle that was packed, the file that holds it, and that file's size."""

    bundle: Bundle
    path: Path
    bytes: int


def pack(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress = _untold,
) -> Packed:
    """Write the bundle at `source` to the one file `destination`, which carries everything.

    The same bundle gives the same bytes. Every digest is checked on the way, one block in memory at a time; the file
    appears whole or not at all, and replaces another only with `force`. Raises BundleError with everything that is
    wrong, UsageError for a file within the bundle itself.
    """
    bundle = Bundle.open(source, verify=False)
    target = Path(destination).absolute()
    if target.parent.resolve().is_relative_to(bundle.root):
        hint = "a bundle holds its own files only: name a file outside with -o"
        raise UsageError.of(_PACK, str(target), "lies within the bundle", hint)
    with draft_file(target, _PACK, force=force) as file:
        writing = _Writing(bundle, file, progress)
        writing.bundle_files()
        size = file.tell()
    return Packed(bundle, target, size)


def unpack(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    force: bool = False,
    store: ShardStore | None = None,
    progress: Progress = _untold,
) -> Unpacked:
    """Make the bundle that the file `source` holds at `destination`; it appears whole or not at all.

    Nothing is written unless the archive holds what its manifest lists and nothing else, and nothing stays unless
    every digest is right. A bundle at `destination` is replaced only with `force`. With a `store` the bundle's shards
    become links to equal ones there, which are put there if they are not. Raises BundleError with everything that is
    wrong at once, StoreError if the store cannot be used.
    """
    try:
        file = FileIO(source, opener=_without_waiting)
    except OSError as error:
        hint = "name the file that `unspool pack` wrote"
        raise BundleError.of(STAGE, str(source), f"cannot be read: {error.strerror}", hint) from error
    with file:
        archive = Archive.of(file, Path(source))
        contents, problems = archive.contents()
        if problems:
            digests = (sha256_blocks(blocks) for _, blocks in _read(archive, contents, progress))
            problems += _digest_faults(archive, contents, digests)
            raise BundleError(*problems)
        with write_bundle(destination, force=force) as writer:
            digests = (writer.copy(path, blocks) for path, blocks in _read(archive, contents, progress))
            BundleError.raise_if(_digest_faults(archive, contents, digests))
            if store is None:
                return Unpacked(writer.commit(contents.manifest), ())
            return Unpacked(*commit_in(store, writer, contents.manifest))


def commit_in(
    store: ShardStore, writer: BundleWriter, manifest: Manifest, report: BuildReport | None = None
) -> tuple[Bundle, tuple[str, ...]]:
    """Put a bundle in place that is whole, with its shards in a store; the bundle, and what people should know."""
    BundleError.raise_if(Bundle(writer.root, manifest).problems(digests=False))
    with share_shards(store, writer.destination) as sharing:
        sharing.share(
            {shard: (np.memmap(writer.root / shard.path, np.uint8, "r"),) for shard in manifest.weights.shards},
            writer.root,
        )
        with sharing.claim(manifest):
            return writer.commit(manifest, report), tuple(sharing.notices)


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; of a pipe, not wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _read(archive: Archive, contents: Contents, progress: Progress) -> Iterator[tuple[str, Iterator[memoryview]]]:
    """Every member with its bytes, which have to be read before the next one's."""
    done, total = 0, sum(member.bytes for member in contents.members.values())

    def counted(member: Member) -> Iterator[memoryview]:
        nonlocal done
        for block in archive.read(member):
            yield block
            done += len(block)
            progress(done, total)

    for path, member in contents.members.items():
        yield path, counted(member)


def _digest_faults(archive: Archive, contents: Contents, digests: Iterable[str]) -> list[Problem]:
    files = contents.manifest.files
    return [
        archive.problem(path, "was changed: its digest is not the manifest's")
        for path, digest in zip(contents.members, digests, strict=True)
        if path != REPORT_FILE and digest != files[path].sha256
    ]


class _Writing:
    """One way through the files of a bundle, into an archive."""

    def __init__(self, bundle: Bundle, file: BinaryIO, progress: Progress) -> None:
        self.bundle = bundle
        self.file = file
        self.progress = progress
        self.done = 0
        self.total = sum(entry.bytes for entry in bundle.manifest.files.values())

    def bundle_files(self) -> None:
        manifest = self.bundle.manifest
        data = manifest.to_bytes()
        self._member(MANIFEST_FILE, len(data), [memoryview(data)])
        changed = []
        for path in packed_order(manifest):
            entry = manifest.files[path]
            if self._member(path, entry.bytes, self._blocks(path)) != entry.sha256:
                changed.append(Problem(_PACK, path, "was changed: its digest is not the manifest's"))
        BundleError.raise_if(changed)
        report = self.bundle.root / REPORT_FILE
        if report.exists():
            size = report.stat().st_size
            if size > MAX_REPORT_BYTES:
                raise BundleError.of(_PACK, REPORT_FILE, f"is too large: {size} bytes", "remove it: nothing needs it")
            self._member(REPORT_FILE, size, self._blocks(REPORT_FILE))
        self.file.write(ending(self.file.tell()))

    def _member(self, path: str, size: int, blocks: Iterable[memoryview]) -> str:
        """Write one member and return its digest. Raises BundleError if it has not the size that it had."""
        digest, left = hashlib.sha256(), size
        self.file.write(header(path, size))
        for block in blocks:
            left -= len(block)
            if left < 0:
                break
            digest.update(block)
            self.file.write(block)
            self.done += len(block)
            self.progress(min(self.done, self.total), self.total)
        if left:
            raise BundleError.of(_PACK, path, "changed its size while it was packed", "pack it when nothing writes it")
        self.file.write(padding(size))
        return digest.hexdigest()

    def _blocks(self, path: str) -> Iterator[memoryview]:
        try:
            yield from file_blocks(self.bundle.root / path)
        except OSError as error:
            raise BundleError.of(_PACK, path, f"cannot be read: {error.strerror}") from error
