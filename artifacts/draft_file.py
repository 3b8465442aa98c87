"""One file that appears whole or not at all.

It is made as a hidden draft beside its destination and then renamed. The draft is locked (flock) for as long as its
writer lives; the next writer to the same destination removes drafts that nobody holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from artifacts.errors import BundleError
from artifacts.swap import rename_to_new, sync


@contextlib.contextmanager
def draft_file(destination: Path, stage: str, *, force: bool = False) -> Iterator[BinaryIO]:
    """A file to fill; at the end of the block it is flushed to the disk and put in place.

    An exception in the block removes it. A file that is there is replaced only with `force`; what is not a regular
    file never is. Raises BundleError for that, and for a folder or a disk that cannot be written.
    """
    given = destination.absolute()
    target = given.parent.resolve() / given.name
    try:
        _check(target, stage, force)
        _sweep(target)
        draft, file = _claim(target)
        with file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                _check(target, stage, force)
                if force:
                    draft.replace(target)
                else:
                    rename_to_new(draft, target)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
        sync(target.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "name a file in a folder that is there and can be written, with -o; is there space on that file system?"
        raise BundleError.of(stage, str(target), f"cannot be written: {reason}", hint) from error


def _check(target: Path, stage: str, force: bool) -> None:
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise BundleError.of(stage, str(target), "exists and is not a regular file", "name another file with -o")
    if not force:
        raise BundleError.of(stage, str(target), "a file is already there", "replace it with --force")


def _claim(target: Path) -> tuple[Path, BinaryIO]:
    """Make and lock a draft. Between the two a sweeper may take it for an abandoned one: then make another."""
    while True:
        draft = target.with_name(f".{target.name}.unspool-{os.getpid()}-{secrets.token_hex(4)}")
        file = draft.open("xb")
        _lock(file.fileno(), wait=True)
        if os.fstat(file.fileno()).st_nlink:
            return draft, file
        file.close()


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Take the lock of an open file; False if another holds it, or where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _sweep(target: Path) -> None:
    """Remove what dead writers to this destination left."""
    stale = re.compile(re.escape(f".{target.name}.unspool-") + r"\d+-[0-9a-f]{8}")
    with os.scandir(target.parent) as entries:
        names = [e.name for e in entries if stale.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
    for name in names:
        with contextlib.suppress(FileNotFoundError), target.with_name(name).open("rb") as file:
            if _lock(file.fileno(), wait=False):
                target.with_name(name).unlink()
