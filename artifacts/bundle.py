"""A bundle: the folder that a compilation leaves behind, opened and checked.

manifest.json          canonical, digests of everything below
engines/NAME...        engine sources or plans, with weights by offset into
weights/NAME.safetensors
samples/               small inputs and the source's outputs
build.json             times, host, measured numerics, log: the one file outside the digests
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from artifacts.canonical import sha256_file
from artifacts.errors import BundleError, Problem
from artifacts.manifest import MANIFEST_FILE, REPORT_FILE, UNLISTED_FILES, FileEntry, Manifest
from artifacts.noun import fault_problems
from artifacts.report import BuildReport
from artifacts.shards import ShardIndex, read_shard
from artifacts.weights import WeightStore

_STAGE = "bundle"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. `root` is its folder, with links on the way to it resolved."""

    root: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = True) -> Bundle:
        """Open the bundle at `path` and check it.

        Always: the manifest; that its files and no others are there, as regular files of the right size;
        that shards are whole and hold the weights of the engines. With `verify` also the digest of every file,
        which reads them all. Raises BundleError with everything that is wrong at once.
        """
        root = Path(path)
        if not root.is_dir():
            message = "is not a folder" if root.exists() else "does not exist"
            raise BundleError.of(_STAGE, str(path), message, "name the folder that holds manifest.json")
        root = root.resolve()
        bundle = cls(root, _read_manifest(root))
        try:
            BundleError.raise_if(bundle.problems(digests=verify))
        except OSError as error:
            raise BundleError.of(_STAGE, str(error.filename), f"cannot be read: {error.strerror}") from error
        return bundle

    def problems(self, *, digests: bool) -> Iterator[Problem]:
        """Every way in which the folder is not what the manifest says. Raises OSError."""
        found: dict[str, os.stat_result] = {}
        expected = self.manifest.files.keys() | set(UNLISTED_FILES)
        for path, status in walk(self.root):
            kind = _fault_of_kind(path, status, expected)
            if kind:
                yield Problem(_STAGE, path, kind)
            elif stat.S_ISREG(status.st_mode):
                found[path] = status
        sound = set()
        for path, entry in self.manifest.files.items():
            fault = self._fault_of_content(path, entry, found.get(path), digests)
            if fault:
                yield Problem(_STAGE, path, fault)
            else:
                sound.add(path)
        if all(shard.path in sound for shard in self.manifest.weights.shards):
            try:
                yield from self._faults_of_weights(self.index())
            except BundleError as error:
                yield from error.problems

    def _faults_of_weights(self, index: ShardIndex) -> Iterator[Problem]:
        """Every content is there once, and every engine's weights are there."""
        counts = Counter(tensor.digest for tensor in index.tensors)
        for digest, count in counts.items():
            if count > 1:
                yield Problem(_STAGE, digest, "a weight is stored twice")
        for name, engine in self.manifest.engines.items():
            for tensor, ref in engine.bindings.items():
                try:
                    index.locate(ref)
                except KeyError:
                    yield Problem(_STAGE, f"engine {name!r}", f"no shard holds the weight {ref.digest} of {tensor!r}")
                except ValueError as error:
                    yield Problem(_STAGE, f"engine {name!r}", f"{tensor!r}: {error}")

    def path_of(self, path: str) -> Path:
        """The absolute path of a file of the bundle. Raises KeyError if the manifest does not list it."""
        if path not in self.manifest.files:
            raise KeyError(path)
        return self.root / path

    def index(self) -> ShardIndex:
        """What the shards hold, from their headers. Raises BundleError."""
        return ShardIndex.read(self.root, self.manifest.weights.shards)

    def weights(self) -> WeightStore:
        """Every stored weight, as views on mapped files. Raises BundleError."""
        store = WeightStore()
        for shard in self.manifest.weights.shards:
            store = store.merged(read_shard(self.root, shard.path, verify=False)[1])
        return store

    def report(self) -> BuildReport | None:
        """How the build went, if the bundle has a build.json. Raises BundleError if it cannot be read."""
        path = self.root / REPORT_FILE
        try:
            return BuildReport.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BundleError.of(_STAGE, REPORT_FILE, f"cannot be read: {error.strerror}") from error
        except ValidationError as error:
            faults = "; ".join(f"{fault.subject}: {fault.message}" for fault in fault_problems(_STAGE, "it", error))
            raise BundleError.of(_STAGE, REPORT_FILE, f"cannot be read: {faults}") from error

    def _fault_of_content(self, path: str, entry: FileEntry, status: os.stat_result | None, digests: bool) -> str:
        if status is None:
            return "is missing"
        if status.st_size != entry.bytes:
            return f"has {status.st_size} bytes, the manifest says {entry.bytes}"
        try:
            if digests and sha256_file(self.root / path) != entry.sha256:
                return "was changed: its digest is not the manifest's"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return ""


def is_identical(destination: str | os.PathLike[str], manifest: Manifest) -> bool:
    """True if `destination` already holds this very manifest, byte for byte: the bundle is up to date."""
    path = Path(destination) / MANIFEST_FILE
    try:
        return path.stat().st_size <= MAX_MANIFEST_BYTES and path.read_bytes() == manifest.to_bytes()
    except OSError:
        return False


def walk(root: Path, folder: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Everything below a folder, as POSIX path relative to it and status; links are not followed.

    Raises OSError if a folder cannot be read.
    """
    with os.scandir(root / folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{folder}/{entry.name}" if folder else entry.name
            status = entry.stat(follow_symlinks=False)
            yield path, status
            if stat.S_ISDIR(status.st_mode):
                yield from walk(root, path)


MAX_MANIFEST_BYTES = 256 * 1024 * 1024


def _read_manifest(root: Path) -> Manifest:
    path = root / MANIFEST_FILE
    hint = f"{root} may not be a bundle, or one that was copied in part"
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError.of(_STAGE, MANIFEST_FILE, "is not a regular file", hint)
        if status.st_size > MAX_MANIFEST_BYTES:
            raise BundleError.of(_STAGE, MANIFEST_FILE, f"is too large: {status.st_size} bytes", hint)
        data = path.read_bytes()
    except OSError as error:
        raise BundleError.of(_STAGE, MANIFEST_FILE, f"cannot be read: {error.strerror}", hint) from error
    return Manifest.from_bytes(data)


def _fault_of_kind(path: str, status: os.stat_result, expected: set[str]) -> str:
    """Why something that lies in the bundle may not be there; empty if it may."""
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link; a bundle holds regular files only"
    if stat.S_ISDIR(status.st_mode):
        inside = any(name.startswith(f"{path}/") for name in expected)
        return "" if inside else "is a folder that the manifest does not mention"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    return "" if path in expected else "is not in the manifest"
