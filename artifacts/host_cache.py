"""Folders of this host's own making, which every process on it uses and which may be removed at any time.

    CACHE/KIND/KEY/            a whole folder: `made.json` lists its files, and nothing else is in it
    CACHE/KIND/.KEY.PID-TOKEN  one that is being made, or whose maker was killed: the next maker removes it

CACHE is what UNSPOOL_CACHE names, else `unspool` in the user's cache folder. A folder is checked, digests included,
each time that it is asked for. One that is damaged is made again; one that another user could have written is refused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from artifacts.canonical import canonical_json, sha256_file
from artifacts.errors import RunError
from artifacts.manifest import FileEntry
from artifacts.noun import Noun
from artifacts.swap import rename_to_new, sync

CACHE_VARIABLE = "UNSPOOL_CACHE"
RECORD_FILE = "made.json"

UNUSABLE_HINT = f"set {CACHE_VARIABLE} to another folder, or open the bundle with other weights"

_STAGE = "cache"
_FOLDER_MODE = 0o755


class Made(Noun):
    """What is in a folder of the cache beside this record itself."""

    files: dict[str, FileEntry]


def cache_root() -> Path:
    """The folder of all caches. It need not exist."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).absolute()
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "unspool"


def cached_folder(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of `key`, filled by `make` if it is not there or not whole.

    `make` gets an empty folder to write files into. Of several processes that want the same folder one makes it and
    the others wait. Raises RunError if the cache cannot be written or is another user's, and whatever `make` raises.
    """
    home = cache_root() / kind
    folder = home / key
    try:
        if _is_whole(folder):
            return folder
        home.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        with _alone_in(home) as is_alone:
            if not _is_whole(folder):
                if is_alone:
                    _sweep(home)
                shutil.rmtree(folder, ignore_errors=True)
                _make(folder, make)
    except OSError as error:
        raise _unusable(home, error) from error
    return folder


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    draft = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}")
    draft.mkdir(mode=_FOLDER_MODE)
    try:
        make(draft)
        files = {path.name: _entry(path) for path in sorted(draft.iterdir())}
        record = Made(files=files).model_dump(mode="json")
        (draft / RECORD_FILE).write_bytes(canonical_json(record))
        for path in (*draft.iterdir(), draft):
            sync(path)
        try:
            rename_to_new(draft, folder)
        except FileExistsError:  # where there are no locks another may have been faster
            if not _is_whole(folder):
                raise
        sync(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    """Whether the folder is there with all its files as they were made.

    Raises RunError if someone else could have made it, OSError if it cannot be read.
    """
    try:
        for path in (folder.parent, folder):
            require_own(path)
        record = Made.model_validate_json((folder / RECORD_FILE).read_bytes())
        found = {path.name for path in folder.iterdir()} - {RECORD_FILE}
        return found == record.files.keys() and all(
            stat.S_ISREG((folder / name).lstat().st_mode) and _entry(folder / name) == entry
            for name, entry in record.files.items()
        )
    except (FileNotFoundError, ValidationError):
        return False


def require_own(folder: Path) -> None:
    """Raise RunError unless nobody but this user and root can have written there."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        message = "can be written by other users, whose files would be taken for this one's"
        raise RunError.of(_STAGE, str(folder), message, f"set {CACHE_VARIABLE} to a folder of your own")


def _entry(path: Path) -> FileEntry:
    return FileEntry(sha256=sha256_file(path), bytes=path.stat().st_size)


def _sweep(home: Path) -> None:
    """Remove what killed makers left. Only for who is alone."""
    for path in home.iterdir():
        if path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _alone_in(home: Path) -> Iterator[bool]:
    """Wait for the lock of a folder, and hold it. False where the file system has no locks."""
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            is_alone = True
        except OSError:
            is_alone = False
        yield is_alone
    finally:
        os.close(descriptor)


def _unusable(home: Path, error: OSError) -> RunError:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    hint = f"free some space, or {UNUSABLE_HINT}" if is_full else UNUSABLE_HINT
    return RunError.of(_STAGE, str(home), f"cannot be used: {error.strerror or error}", hint)
