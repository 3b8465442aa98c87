"""What a job reads, by content in a store, for machines that do not see this one's files.

    STORE/sources/ab/SHA256    one file's bytes

A parcel is unpacked below a folder at the paths that its files had here, so that what lies beside a model lies beside
it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.canonical import sha256_file
from artifacts.errors import StoreError
from artifacts.shard_store.store import ShardStore, unusable
from compiler.generation import generation_files
from compiler.options import CompileOptions, FurtherParts, ModelFile
from compiler.zoo.work import Work
from compiler.zoo.yaml_file import STAGE
from passes.onnx_to_torch.custom_code import find_custom_ops
from passes.onnx_to_torch.source import external_names

SOURCES = "sources"

_FILES = ("samples", "tune", "buckets", "bucket_costs")
"""Options that name a file."""


@dataclass(frozen=True)
class Parcel:
    """A job whose files are in its store: digests by their absolute paths here."""

    work: Work
    files: Mapping[str, str]

    def unpacked(self, root: Path) -> Work:
        """The job with its files below `root`. Raises StoreError if one is not in the store, or is another."""
        files = ShardStore.open(self.work.store).files
        try:
            for path, digest in self.files.items():
                target = _below(root, Path(path))
                if target.is_file() and sha256_file(target) == digest:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as out:
                    for block in files.blocks(_stored(digest)):
                        out.write(block)
                if sha256_file(target) != digest:
                    message = f"is not what {Path(path).name} was"
                    raise StoreError.of(STAGE, _stored(digest), message, "remove it from the store, and build again")
        except FileNotFoundError as error:
            raise StoreError.of(STAGE, str(error.filename), "is not in the store any more", "build again") from error
        except OSError as error:
            raise unusable(files, error) from error
        return _moved(self.work, root)


def parcel_of(work: Work) -> Parcel:
    """Put what a job reads into its store. Raises StoreError if it cannot be written, ModelFormatError, OSError."""
    store = ShardStore.open(work.store, create=True)
    digests: dict[str, str] = {}
    for path in dict.fromkeys(_read(work)):
        digest = sha256_file(path)
        digests[str(path.absolute())] = digest
        data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
        try:
            if not store.files.holds(_stored(digest), (data,)):
                store.files.put(_stored(digest), (data,), replace=True)
        except OSError as error:
            raise unusable(store.files, error) from error
    return Parcel(work, digests)


def _read(work: Work) -> Iterator[Path]:
    """Every file that a job reads."""
    for model in work.models:
        for path in model.paths:
            yield path
            yield from (path.parent / name for name in external_names(path))
        yield from generation_files(model.path)
    for name in _FILES:
        if (path := getattr(work.options, name)) is not None:
            yield path
    if work.options.calibration is not None:
        yield from (path for path in sorted(work.options.calibration.rglob("*.npz")) if path.is_file())
    for code in find_custom_ops(work.options.custom_ops):
        yield from code.files


def _moved(work: Work, root: Path) -> Work:
    """The job with all paths of what it reads below another root."""

    def moved(path: Path | None) -> Path | None:
        return None if path is None else _below(root, path)

    def model_of(model: ModelFile) -> ModelFile:
        parts = model.parts
        if parts is not None:
            past = moved(parts.decoder_with_past)
            parts = FurtherParts(_below(root, parts.encoder), past)
        return ModelFile(model.name, _below(root, model.path), parts)

    named: dict[str, Any] = {name: moved(getattr(work.options, name)) for name in (*_FILES, "calibration")}
    options: CompileOptions = replace(
        work.options,
        **named,
        custom_ops=tuple(
            str(_below(root, Path(text))) if Path(text).is_file() else text for text in work.options.custom_ops
        ),
    )
    return replace(work, models=tuple(map(model_of, work.models)), options=options)


def _below(root: Path, path: Path) -> Path:
    return root.joinpath(*path.absolute().parts[1:])


def _stored(digest: str) -> str:
    return f"{SOURCES}/{digest[:2]}/{digest}"
