"""A make rule of what a compilation read: `BUNDLE/manifest.json: model.onnx model.onnx.data ...`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from artifacts.errors import Problem, UsageError
from artifacts.manifest import MANIFEST_FILE
from compiler.options import CompileOptions
from passes.onnx_to_torch.custom_code import find_custom_ops


def write_depfile(path: Path, bundle: Path, models: Sequence[Path], options: CompileOptions) -> None:
    """Write the rule, and an empty rule for each file so that a deleted one does not stop make.

    `models` are the files of the models, and what lies beside them; the options name the rest. A folder is as young
    as the last file that came or went.

    Raises UsageError if the file cannot be written, or if make has no way to write a name.
    """
    named = (options.samples, options.tune, options.buckets, options.bucket_costs)
    read = [*models, *(file for file in named if file is not None)]
    read += [file for code in find_custom_ops(options.custom_ops) for file in code.files]
    if options.calibration is not None:
        folders = [options.calibration, *(path for path in options.calibration.iterdir() if path.is_dir())]
        read += [path for folder in sorted(folders) for path in (folder, *sorted(folder.glob("*.npz")))]
    files = tuple(dict.fromkeys(read))
    made = bundle / MANIFEST_FILE
    UsageError.raise_if(
        Problem("options", f"--depfile {path}", f"make cannot name {str(file)!r}", f"rename it without {UNWRITABLE!r}")
        for file in (made, *files)
        if set(UNWRITABLE) & set(str(file))
    )
    rules = [f"{rule_target(made)}: {' '.join(map(escaped, files))}", *(f"{rule_target(file)}:" for file in files)]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text("\n".join(rules) + "\n")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError.of("options", f"--depfile {path}", f"cannot be written: {error.strerror}") from error


UNWRITABLE = ";|=\t\n"
"""Characters that make takes for syntax wherever they stand, escaped or not."""


def escaped(path: Path) -> str:
    """A path among the prerequisites of a rule. A backslash is one, unless it stands before what is escaped."""
    text = re.sub(r"(\\*)([ #:*?\[])", r"\1\1\\\2", str(path))
    return text.replace("$", "$$")


def rule_target(path: Path) -> str:
    """A path as the target of a rule, where `%` would make a pattern of it."""
    return re.sub(r"(\\*)%", r"\1\1\\%", escaped(path))
