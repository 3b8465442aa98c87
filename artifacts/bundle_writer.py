"""Writes a bundle so that it appears whole or not at all.

A bundle is made in a hidden folder beside its destination, on the same file system, and then renamed. The
hidden folder is locked (flock) for as long as its writer lives; the kernel drops the lock with the process,
however it ends, and the next writer to the same destination sweeps folders that nobody holds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from artifacts.bundle import Bundle, walk
from artifacts.canonical import sha256_file
from artifacts.errors import BundleError, Problem
from artifacts.manifest import MANIFEST_FILE, REPORT_FILE, UNLISTED_FILES, FileEntry, Manifest
from artifacts.report import BuildReport
from artifacts.swap import exchange, rename_to_new, sync

_STAGE = "bundle"
_ASIDE = ".old"
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@dataclass(eq=False)
class BundleWriter:
    """Collects a bundle's files in `root` and puts them in place. Made by `write_bundle`."""

    root: Path
    destination: Path
    force: bool
    committed: bool = False
    _hashed: dict[str, tuple[tuple[int, int, int], FileEntry]] = field(default_factory=dict)

    def add(self, path: str, data: bytes) -> None:
        """Write one file at a path relative to the bundle. Raises BundleError."""
        file = self.root / path
        with _reported(self.destination):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def copy(self, path: str, blocks: Iterable[memoryview]) -> str:
        """Write one file at a path relative to the bundle, block by block; its digest.

        Raises BundleError, and what reading a block raises.
        """
        file, digest = self.root / path, hashlib.sha256()
        with _reported(self.destination):
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as out:
                for block in blocks:
                    digest.update(block)
                    out.write(block)
            self._remember(path, file.stat(), digest.hexdigest())
        return digest.hexdigest()

    def inventory(self) -> dict[str, FileEntry]:
        """Digest and size of every file so far, for `Manifest.files`; a file is read again if it changed."""
        entries = {}
        with _reported(self.destination):
            for path, status in walk(self.root):
                if path in UNLISTED_FILES or not stat.S_ISREG(status.st_mode):
                    continue
                known = self._hashed.get(path)
                if known is None or known[0] != _mark(status):
                    self._remember(path, status, sha256_file(self.root / path))
                entries[path] = self._hashed[path][1]
        return entries

    def _remember(self, path: str, status: os.stat_result, digest: str) -> None:
        self._hashed[path] = (_mark(status), FileEntry(sha256=digest, bytes=status.st_size))

    def commit(self, manifest: Manifest, report: BuildReport | None = None) -> Bundle:
        """Put the bundle in place and return it as it is there.

        Without a report its build.json is the one that was added, if any. Raises BundleError if the files are not the
        ones that the manifest lists, or if the destination is taken.
        """
        self.add(MANIFEST_FILE, manifest.to_bytes())
        if report is not None:
            self.add(REPORT_FILE, report.to_bytes())
        with _reported(self.destination):
            BundleError.raise_if(Bundle(self.root, manifest).problems(digests=False))
            BundleError.raise_if(
                Problem(_STAGE, path, "changed after the manifest was made")
                for path, entry in self.inventory().items()
                if manifest.files.get(path) != entry
            )
            _sync(self.root)
            _check_destination(self.destination, self.force)
            self._place()
            self.committed = True
            sync(self.destination.parent)
        return Bundle(self.destination, manifest)

    def _place(self) -> None:
        if not self.destination.exists():
            rename_to_new(self.root, self.destination)
        elif exchange(self.root, self.destination):
            # What was replaced is nobody's, and another writer may be sweeping it at this moment.
            shutil.rmtree(self.root, ignore_errors=True)
        else:
            self._replace_aside()

    def _replace_aside(self) -> None:
        """Replace in two renames; if the process ends between them, the next writer undoes the first."""
        aside = self.root.with_name(self.root.name + _ASIDE)
        with _lock(self.destination):
            self.destination.rename(aside)
            try:
                rename_to_new(self.root, self.destination)
            except OSError:
                aside.rename(self.destination)
                raise
            shutil.rmtree(aside)


@contextlib.contextmanager
def write_bundle(destination: str | os.PathLike[str], *, force: bool = False) -> Iterator[BundleWriter]:
    """Make a bundle at `destination`: fill `writer.root`, then call `writer.commit`.

    Leaving the block without a commit, by an exception too, removes what was written. An existing bundle is
    replaced only with `force`; a folder that is not a bundle, or holds files that are not the bundle's, never
    is. Raises BundleError, also for a full disk or a folder that cannot be written.
    """
    given = Path(destination).absolute()
    target = given.parent.resolve() / given.name
    staging: Path | None = None
    writer: BundleWriter | None = None
    made: list[Path] = []
    with contextlib.ExitStack() as stack:
        try:
            with _reported(target):
                made = _make_folders(target.parent)
                sweep_abandoned(target)
                _check_destination(target, force)
                staging = _claim(target, stack)
            writer = BundleWriter(staging, target, force)
            yield writer
        except OSError as error:
            if staging is None or not _is_about(error, staging):
                raise
            raise _unwritable(target, error) from error
        finally:
            if writer is None or not writer.committed:
                if staging is not None:
                    shutil.rmtree(staging, ignore_errors=True)
                for folder in reversed(made):
                    with contextlib.suppress(OSError):
                        folder.rmdir()


def _mark(status: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file is written."""
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _is_about(error: OSError, staging: Path) -> bool:
    """True if the caller's block failed to write into the bundle, not at whatever else it did."""
    if error.errno in _DISK_FAULTS:
        return True
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return any(Path(name).is_relative_to(staging) for name in names)


@contextlib.contextmanager
def _reported(target: Path) -> Iterator[None]:
    """Turn an error of the operating system into one that names the bundle."""
    try:
        yield
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(target: Path, error: OSError) -> BundleError:
    hints = {
        errno.ENOSPC: "free some space on that file system",
        errno.EFBIG: "free some space, or lift the limit on the size of files (ulimit -f)",
        errno.EDQUOT: "the disk quota is used up",
        errno.EACCES: "the folder has to be writable",
        errno.EROFS: "the file system is read-only",
        errno.EEXIST: "something else was put there in the meantime",
        errno.ENOTEMPTY: "something else was put there in the meantime",
        errno.EAGAIN: "another build is replacing it at this moment",
    }
    reason = error.strerror or str(error)
    hint = hints.get(error.errno or 0, "name a folder that can be written, with -o")
    return BundleError(Problem(_STAGE, str(target), f"cannot be written: {reason}", hint))


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and what is missing above it; returns what was made, outermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
    return missing[::-1]


def _check_destination(target: Path, force: bool) -> None:
    """Raise BundleError unless the destination is free, or a bundle that may be replaced."""
    if not target.exists() and not target.is_symlink():
        return
    listed = _listed_files(target)
    if listed is None:
        raise BundleError.of(_STAGE, str(target), "exists and is not a bundle", "name another destination")
    foreign = [p for p, s in walk(target) if not stat.S_ISDIR(s.st_mode) and p not in listed]
    if foreign:
        names = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        message = f"holds files that are not the bundle's: {names}"
        raise BundleError.of(_STAGE, str(target), message, "move them elsewhere, or name another destination")
    if not force:
        raise BundleError.of(_STAGE, str(target), "a bundle is already there", "replace it with --force")


def _listed_files(target: Path) -> set[str] | None:
    """The files that the bundle at `target` owns, of whatever schema version; None if there is no bundle."""
    if target.is_symlink() or not target.is_dir():
        return None
    manifest = target / MANIFEST_FILE
    try:
        if not stat.S_ISREG(manifest.lstat().st_mode):
            return None
        document = json.loads(manifest.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not {"schema_version", "unspool", "engines"} <= document.keys():
        return None
    files = document.get("files")
    return {*files, *UNLISTED_FILES} if isinstance(files, dict) else None


def _claim(target: Path, stack: contextlib.ExitStack) -> Path:
    """Make and lock a staging folder; the lock ends with `stack`."""
    while True:
        staging = target.with_name(f".{target.name}.unspool-{os.getpid()}-{secrets.token_hex(4)}")
        staging.mkdir()
        # Between mkdir and the lock a sweeper may take the folder for an abandoned one: then take another.
        with contextlib.suppress(BlockingIOError, FileNotFoundError), contextlib.ExitStack() as attempt:
            attempt.enter_context(_lock(staging))
            if staging.exists():
                stack.enter_context(attempt.pop_all())
                return staging


def sweep_abandoned(target: Path) -> None:
    """Remove what dead writers to this destination left; put back a bundle that one had moved aside. Raises OSError."""
    stale = re.compile(re.escape(f".{target.name}.unspool-") + r"\d+-[0-9a-f]{8}(\.old)?")
    with os.scandir(target.parent) as entries:
        names = [e.name for e in entries if stale.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    for name in names:
        folder = target.with_name(name)
        with contextlib.suppress(BlockingIOError, FileNotFoundError), _lock(folder) as is_ours:
            if not is_ours:
                continue
            if name.endswith(_ASIDE) and not target.exists():
                folder.rename(target)
            else:
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder. False where the file system has no locks: then nothing is ever swept there.

    Raises BlockingIOError if another process holds it, FileNotFoundError if the folder is gone.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = True
        except BlockingIOError:
            raise
        except OSError:
            is_ours = False
        yield is_ours
    finally:
        os.close(descriptor)


def _sync(root: Path) -> None:
    """Flush every file and folder below and including `root` to the disk."""
    for path, _ in walk(root):
        sync(root / path)
    sync(root)
