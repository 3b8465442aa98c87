"""Finished bundles in a store, by the key of what they were made of, for whoever would make the same.

    STORE/bundles/ab/KEY.json    a bundle's manifest and its build.json
    STORE/files/ab/SHA256        its files that are no shards, each content once

Nothing claims what is here. A bundle that is taken is checked byte by byte; where a file is gone or is another, there
is none, and it is made. So a shelf can be cleaned at any time.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from artifacts.bundle import Bundle
from artifacts.bundle_writer import write_bundle
from artifacts.canonical import canonical_json
from artifacts.errors import BundleError
from artifacts.manifest import Manifest
from artifacts.packing import commit_in
from artifacts.report import BuildReport
from artifacts.shard_store.files import StoreFiles
from artifacts.shard_store.store import ShardStore, stored_path, unusable

BUNDLES = "bundles"
FILES = "files"


@dataclass(frozen=True)
class Shelf:
    """The bundles of a store."""

    store: ShardStore

    def put(self, key: str, bundle: Bundle) -> None:
        """Keep a bundle whose shards are in the store, and whose digests were verified. Raises StoreError."""
        files, manifest = self.store.files, bundle.manifest
        try:
            for path, digest in _others(manifest):
                data = np.fromfile(bundle.root / path, np.uint8)
                if not files.holds(_file(digest), (data,)):
                    files.put(_file(digest), (data,), replace=True)
            report = bundle.report()
            document = {
                "manifest": json.loads(manifest.to_bytes()),
                "report": None if report is None else report.model_dump(mode="json"),
            }
            files.write(_record(key), canonical_json(document))
        except OSError as error:
            raise unusable(files, error) from error

    def take(self, key: str, destination: Path) -> Bundle | None:
        """Make the bundle with this key at a place, whatever bundle is there; None if it is not here, or not whole.

        Raises BundleError if the place cannot be written, StoreError if the store refuses.
        """
        files = self.store.files
        try:
            found = _parsed(files.read(_record(key)))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unusable(files, error) from error
        if found is None:
            return None
        manifest, report = found
        shards = {shard.path: stored_path(shard.sha256) for shard in manifest.weights.shards}
        with write_bundle(destination, force=True) as writer:
            for path, entry in manifest.files.items():
                try:
                    digest = writer.copy(path, _blocks(files, shards.get(path) or _file(entry.sha256)))
                except _GoneError:
                    return None
                if digest != entry.sha256:
                    return None
            return commit_in(self.store, writer, manifest, report)[0]

    def is_empty(self) -> bool:
        """Whether nothing is here. Raises StoreError."""
        try:
            return next(iter(self.store.files.list(BUNDLES)), None) is None
        except OSError as error:
            raise unusable(self.store.files, error) from error

    def clean(self, keys: Collection[str], *, dry_run: bool = False) -> int:
        """Remove what bundles with these keys do not need, or only look; the number of bytes. Raises StoreError."""
        files, freed = self.store.files, 0
        delete = (lambda _path: None) if dry_run else files.delete
        needed: set[str] = set()
        try:
            for record in [*files.list(BUNDLES)]:
                found = _parsed(files.read(record.path)) if Path(record.path).stem in keys else None
                if found is None:
                    delete(record.path)
                    freed += record.bytes
                else:
                    needed.update(_file(digest) for _, digest in _others(found[0]))
            for file in [*files.list(FILES)]:
                if file.path not in needed:
                    delete(file.path)
                    freed += file.bytes
        except OSError as error:
            raise unusable(files, error) from error
        return freed


class _GoneError(Exception):
    """A file is not in the store: whoever writes must not take that for a fault of the place that is written to."""


def _blocks(files: StoreFiles, path: str) -> Iterator[memoryview]:
    try:
        yield from files.blocks(path)
    except FileNotFoundError as error:
        raise _GoneError from error
    except OSError as error:
        raise unusable(files, error) from error


def _others(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """The files of a bundle that are no shards, each with its digest."""
    shards = {shard.path for shard in manifest.weights.shards}
    for path, entry in manifest.files.items():
        if path not in shards:
            yield path, entry.sha256


def _parsed(data: bytes) -> tuple[Manifest, BuildReport | None] | None:
    """What a record says; None if it is none of this version's."""
    try:
        document = json.loads(data)
        manifest = Manifest.from_bytes(canonical_json(document["manifest"]))
        report = document["report"]
        return manifest, None if report is None else BuildReport.model_validate_json(json.dumps(report))
    except (BundleError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _record(key: str) -> str:
    return f"{BUNDLES}/{key[:2]}/{key}.json"


def _file(digest: str) -> str:
    return f"{FILES}/{digest[:2]}/{digest}"
