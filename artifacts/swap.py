"""Renames of folders that either happen whole or not at all, and how they and files reach the disk.

Linux has `renameat2` (since 3.15; glibc since 2.28), which exchanges two folders in one step and can refuse
to replace one. Where the C library or the file system lacks it, the caller has to move the old folder
aside.
"""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache
from pathlib import Path
from typing import Any

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2


def exchange(left: Path, right: Path) -> bool:
    """Swap two paths of one file system in one step. False, with nothing done, where that is not possible.

    Raises OSError if it is possible and failed.
    """
    return _renameat2(left, right, _RENAME_EXCHANGE)


def rename_to_new(source: Path, destination: Path) -> None:
    """Rename a folder to a path that must not exist. Raises OSError, FileExistsError in particular."""
    if _renameat2(source, destination, _RENAME_NOREPLACE):
        return
    if destination.exists() or destination.is_symlink():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(destination))
    source.rename(destination)


@cache
def _function() -> Any:
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # no such symbol, or no C library to ask (Windows)
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return function


def _renameat2(old: Path, new: Path, flags: int) -> bool:
    function = _function()
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(old), None, str(new))


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
