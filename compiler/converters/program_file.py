"""An exported program on its way from one process of ours to another, with nothing in the file that is pickled.

torch.export.load unpickles what an archive says is pickled: sample inputs, subclasses of tensors, objects. Programs
that are passed on here hold none of these, and a file that does is not loaded.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from artifacts.errors import SourceError


def save_program(program: ExportedProgram, path: Path) -> None:
    """Save a program without its sample inputs, which is all in it that torch would pickle."""
    program.example_inputs = None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        torch.export.save(program, path)


def load_program(path: Path) -> ExportedProgram:
    """Load what `save_program` saved. Raises SourceError for a file in which something is pickled."""
    with zipfile.ZipFile(path) as archive:
        pickled = list(_pickled(archive))
    if pickled:
        raise SourceError.of("convert", path.name, f"holds pickled data: {', '.join(pickled)}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        return torch.export.load(path)


def _pickled(archive: zipfile.ZipFile) -> Iterator[str]:
    for member in archive.infolist():
        name = member.filename
        if name.endswith("_config.json"):
            payloads: dict[str, dict[str, Any]] = json.loads(archive.read(name))["config"]
            yield from (f"{name}: {tensor}" for tensor, payload in payloads.items() if payload["use_pickle"])
        elif name.endswith(".pt") and member.file_size:
            yield name
