"""A make rule of what a compilation read: `BUNDLE/manifest.json: model.onnx model.onnx.data ...`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from artifacts.errors import UsageError
from artifacts.manifest import MANIFEST_FILE
from compiler.generation import generation_files
from compiler.options import CompileOptions, ModelFile
from passes.onnx_to_torch.source import load_source, source_files


def write_depfile(path: Path, bundle: Path, models: Sequence[ModelFile], options: CompileOptions) -> None:
    """Write the rule, and an empty rule for each file so that a deleted one does not stop make.

    Raises UsageError if the file cannot be written.
    """
    read = [
        file for model in models for file in (*source_files(load_source(model.path)), *generation_files(model.path))
    ]
    if options.samples is not None:
        read.append(options.samples)
    names = [_escaped(file) for file in dict.fromkeys(read)]
    text = f"{_escaped(bundle / MANIFEST_FILE)}: {' '.join(names)}\n" + "".join(f"{name}:\n" for name in names)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError.of("options", f"--depfile {path}", f"cannot be written: {error.strerror}") from error


def _escaped(path: Path) -> str:
    """A path in make's syntax."""
    return str(path).replace("\\", "\\\\").replace("$", "$$").replace("#", "\\#").replace(" ", "\\ ")
