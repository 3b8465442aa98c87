"""Requests with known answers: what a bundle carries so that it can be verified with no source model at hand."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.bundle import Bundle
from artifacts.errors import BundleError

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Sample:
    """One request: the model's inputs by name, and what the source model answered.

    `decoded` holds the `tokens` and `lengths` that the source decodes greedily under the model's schedule, at
    most as many tokens as `tokens` has columns; empty for a model that is called once.
    """

    inputs: Arrays
    outputs: Arrays
    decoded: Arrays = field(default_factory=lambda: MappingProxyType({}))


def stored_samples(bundle: Bundle, model: str) -> tuple[Sample, ...]:
    """The samples that a bundle holds for one of its models. Raises BundleError if one cannot be read."""
    return tuple(
        Sample(
            read_arrays(bundle.root / files.inputs),
            read_arrays(bundle.root / files.outputs),
            read_arrays(bundle.root / files.decoded) if files.decoded else MappingProxyType({}),
        )
        for files in bundle.manifest.models[model].samples
    )


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz by name; nothing in it is run. Raises BundleError if it is not such a file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise BundleError.of("samples", str(path), "is a single array, not an .npz of arrays by name")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError.of("samples", str(path), f"is not an .npz of arrays: {error}") from error


def archive_bytes(arrays: Arrays) -> bytes:
    """An uncompressed .npz, the same bytes for the same arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()
