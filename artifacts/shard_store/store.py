"""A store, opened."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from artifacts.canonical import canonical_json
from artifacts.errors import Problem, StoreError
from artifacts.shard_store.claims import CLAIMS, STAGE, Claim
from artifacts.shard_store.files import StoreFiles
from artifacts.shard_store.local import DRAFTS, LocalFiles
from artifacts.shard_store.remote import RemoteFiles

SHARDS = "shards"
MARK = "store.json"

_LAYOUT = canonical_json({"unspool_store": 1})


@dataclass(frozen=True)
class ShardStore:
    """A store by its files. See the package for what is where."""

    files: StoreFiles

    @classmethod
    def open(cls, location: str | os.PathLike[str], *, create: bool = False) -> ShardStore:
        """The store at a folder, or at a URL of fsspec; with `create` an absent or empty folder becomes one.

        Raises StoreError if the folder is something else, MissingToolError if a package for the URL is not installed,
        UsageError if fsspec knows no such URLs.
        """
        files = _files_at(os.fspath(location))
        try:
            if create and _is_vacant(files):
                # Whoever else makes it meanwhile may collect already, and sweeps the draft of this mark.
                with contextlib.suppress(FileNotFoundError):
                    files.write(MARK, _LAYOUT)
            _check_mark(files)
        except OSError as error:
            raise unusable(files, error) from error
        return cls(files)

    def claims(self) -> Iterator[Claim]:
        """Every claim. Raises StoreError with all that cannot be read, after those that can. Raises OSError."""
        problems: list[Problem] = []
        for file in self.files.list(CLAIMS):
            try:
                yield Claim.from_bytes(self.files.read(file.path), file.path)
            except FileNotFoundError:  # gc came in between
                continue
            except StoreError as error:
                problems += error.problems
        StoreError.raise_if(problems)


def stored_path(digest: str) -> str:
    """Where the shard with this digest is in a store."""
    return f"{SHARDS}/{digest[:2]}/{digest}.safetensors"


def unusable(files: StoreFiles, error: OSError) -> StoreError:
    """The error for a place that refuses."""
    subject = str(error.filename or files.location)
    return StoreError.of(STAGE, subject, f"cannot be used: {error.strerror or error}", "is it there, and writable?")


def _files_at(location: str) -> StoreFiles:
    url = urlsplit(location)
    if "://" not in location:
        return LocalFiles(Path(location).absolute())
    if url.scheme == "file" and url.netloc in {"", "localhost"}:
        return LocalFiles(Path(unquote(url.path)).absolute())
    return RemoteFiles.open(location)


def _is_vacant(files: StoreFiles) -> bool:
    """Whether nothing is there but what a writer leaves that dies while it makes a store."""
    try:
        files.read(MARK)
    except FileNotFoundError:
        return all(file.path.startswith(f"{DRAFTS}/") for file in files.list(""))
    return False


def _check_mark(files: StoreFiles) -> None:
    try:
        document = json.loads(files.read(MARK))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        hint = "name a store, or with --store of `unspool compile` an empty folder"
        raise StoreError.of(STAGE, files.location, "is not a store", hint) from None
    if document != json.loads(_LAYOUT):
        message = f"is a store of another layout: {document}"
        raise StoreError.of(STAGE, files.location, message, "use the version of Unspool that wrote it")
