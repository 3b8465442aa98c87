"""Models at URLs, through fsspec: what a pattern matches, and the files of a model, fetched when they change.

What a server says of a file (its tag, its time, its size) decides whether it is fetched again. A file appears whole or
not at all, and only below the folder that it is fetched to.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from artifacts.canonical import sha256_bytes
from artifacts.errors import StoreError
from artifacts.shard_store.remote import RemoteFiles
from compiler.generation import CONFIG_FILES
from compiler.zoo.yaml_file import STAGE
from passes.onnx_to_torch.external_data import resolve_external

MOST_FILES = 1000
"""Files of one model's folder."""

_BLOCK_BYTES = 8 << 20
_PLAIN = re.compile(r"[^/\\\0]+")


def remote_matches(pattern: str) -> list[str]:
    """The URLs that a pattern matches, sorted. Raises StoreError if the place refuses, MissingToolError."""
    place = RemoteFiles.open(pattern)
    scheme = pattern.partition("://")[0]
    with _refused(place), place.told():
        found = place.fs.glob(place.root)
    return sorted(
        f"{scheme}://{name.lstrip('/')}" if scheme in _BUCKETS else place.fs.unstrip_protocol(name) for name in found
    )


_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
"""Schemes whose URLs are a bucket and a key: fsspec knows each of a pair by one of their names."""


@dataclass(eq=False)
class Fetched:
    """What was fetched into `folder`: marks of files by URL. `new` is what is not in the ledger yet."""

    folder: Path
    known: Mapping[str, str]
    new: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Path] = field(default_factory=dict)

    def model(self, url: str) -> Path:
        """The path of a model's file or folder, fetched with all that it needs.

        Raises StoreError if the place refuses, ModelFormatError for a file that is no model.
        """
        if url not in self.seen:
            self.seen[url] = self._file(url) if _is_file(url) else self._folder(url)
        return self.seen[url]

    def _file(self, url: str) -> Path:
        from passes.onnx_to_torch.source import external_names

        above, _, name = url.rpartition("/")
        place, folder = RemoteFiles.open(above), _place_of(self.folder, above)
        with _refused(place):
            path = self._fetch(place, above, name, folder)
            for config in CONFIG_FILES:
                with contextlib.suppress(FileNotFoundError):
                    self._fetch(place, above, config, folder)
            for external in external_names(path):
                self._fetch(place, above, external, folder)
        return path

    def _folder(self, url: str) -> Path:
        url = url.rstrip("/")
        place, folder = RemoteFiles.open(url), _place_of(self.folder, url)
        with _refused(place):
            names = [file.path for file in place.list("")]
            if not names:
                raise StoreError.of(STAGE, place.location, "holds no files", "is it there?")
            if len(names) > MOST_FILES:
                message = f"holds {len(names)} files: a model has fewer"
                raise StoreError.of(STAGE, place.location, message, "name the model's file, or a pattern")
            for name in names:
                self._fetch(place, url, name, folder)
        return folder

    def _fetch(self, place: RemoteFiles, above: str, name: str, folder: Path) -> Path:
        """One file, fetched if it is another than the one that is there. Raises FileNotFoundError."""
        folder.mkdir(parents=True, exist_ok=True)
        if resolve_external(folder.resolve(), name) is None or ".." in PurePosixPath(name).parts:
            message = f"has a name that leads out of its folder: {name!r}"
            raise StoreError.of(STAGE, place.location, message, "rename it")
        path, url = folder / name, f"{above}/{name}"
        with place.told():
            mark = json.dumps(place.fs.ukey(f"{place.root}/{name}"))
        if path.is_file() and {**self.known, **self.new}.get(url) == mark:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        try:
            with (
                place.told(),
                place.fs.open(f"{place.root}/{name}", "rb", block_size=_BLOCK_BYTES) as source,
                draft.open("wb") as target,
            ):
                while block := source.read(_BLOCK_BYTES):
                    target.write(block)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self.new[url] = mark
        return path


def path_below(folder: Path, url: str) -> Path:
    """Where the model at a URL is once it was fetched into a folder."""
    if _is_file(url):
        above, _, name = url.rpartition("/")
        return _place_of(folder, above) / name
    return _place_of(folder, url.rstrip("/"))


def _is_file(url: str) -> bool:
    return urlsplit(url).path.endswith(".onnx")


def _place_of(folder: Path, above: str) -> Path:
    """The folder for what lies below a URL: one of its own, named after it."""
    stem = re.sub(r"[^A-Za-z0-9_.+-]", "_", posixpath.basename(above)).lstrip(".") or "models"
    return folder / f"{stem}-{sha256_bytes(above.encode())[:12]}"


@contextlib.contextmanager
def _refused(place: RemoteFiles) -> Iterator[None]:
    """Turn a refusal into an error that names the place."""
    try:
        yield
    except OSError as error:
        message = f"cannot be fetched: {error.strerror or error}"
        raise StoreError.of(STAGE, place.location, message, "is it there, and are its credentials set?") from error
