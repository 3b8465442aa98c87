"""Whether a writer of this machine lives, where the place that it writes to cannot tell.

A writer holds the lock of a file that has the name of its announcement, which nobody can guess. The kernel drops the
lock with the process; a file that is there and that nobody holds is that of a dead writer.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


@contextlib.contextmanager
def alive(path: str) -> Iterator[None]:
    """Hold the file of the announcement at `path`. Where that cannot be, the writer counts as alive for ever."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            descriptor = os.open(_file(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def is_dead(path: str) -> bool:
    """True if the file is there and nobody holds it; not if this machine has none: then it may be another's."""
    try:
        with _file(path).open("rb+") as stream:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def forget(path: str) -> None:
    """Remove the file of what is not announced any more."""
    with contextlib.suppress(OSError):
        _file(path).unlink()


def _file(path: str) -> Path:
    """In a folder of this user's. Raises OSError if it is somebody else's."""
    folder = Path(tempfile.gettempdir()) / f"unspool-writers-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(folder))
    return folder / PurePosixPath(path).name
