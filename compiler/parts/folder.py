"""Find the parts of a model in a folder, or among the parts that a command names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from artifacts.errors import Problem, UsageError
from compiler.options import FurtherParts, ModelFile


class Role(StrEnum):
    """What a part is, in the words of the command line."""

    ENCODER = "encoder"
    DECODER = "decoder"
    DECODER_WITH_PAST = "decoder-with-past"


def paths_by_role(model: ModelFile) -> dict[Role, Path]:
    """The files of a model by what they are. A model in one file is a decoder to nobody's encoder."""
    paths = {Role.DECODER: model.path}
    if model.parts is not None:
        paths[Role.ENCODER] = model.parts.encoder
        if model.parts.decoder_with_past is not None:
            paths[Role.DECODER_WITH_PAST] = model.parts.decoder_with_past
    return paths


KNOWN_NAMES: Mapping[Role, Sequence[str]] = {
    Role.ENCODER: ("encoder_model.onnx", "encoder.onnx"),
    Role.DECODER: ("decoder_model.onnx", "decoder.onnx", "decoder_model_merged.onnx", "decoder_step.onnx"),
    Role.DECODER_WITH_PAST: ("decoder_with_past_model.onnx", "decoder_with_past.onnx"),
}
"""File names by role, the first that is there counts: those of Hugging Face Optimum, and plain ones."""

WHOLE_MODEL = "model.onnx"

_PART = re.compile(r"(?P<role>[a-z-]+)=(?P<path>.+)")


def model_at(name: str, path: Path) -> ModelFile:
    """The model at a path: a file, or a folder. Raises UsageError as `model_in_folder` does."""
    return model_in_folder(name, path) if path.is_dir() else ModelFile(name, path)


def holds_model(folder: Path) -> bool:
    """Whether a folder holds a decoder's part, or one model, by a name that is known."""
    return _first(folder, (*KNOWN_NAMES[Role.DECODER], WHOLE_MODEL)) is not None


def model_in_folder(name: str, folder: Path) -> ModelFile:
    """The model whose files lie in a folder: in parts, or `model.onnx`. Raises UsageError if it is neither."""
    found = {role: path for role, names in KNOWN_NAMES.items() if (path := _first(folder, names)) is not None}
    if Role.DECODER not in found and (folder / WHOLE_MODEL).is_file():
        return ModelFile(name, folder / WHOLE_MODEL)
    names = {role: " or ".join(KNOWN_NAMES[role]) for role in (Role.ENCODER, Role.DECODER)}
    UsageError.raise_if(
        Problem("options", str(folder), f"holds no {role}", f"it is called {names[role]}; or name the file itself")
        for role in names
        if role not in found
    )
    return _model(name, found)


def model_of_parts(name: str, parts: Iterable[str]) -> ModelFile:
    """The model that `ROLE=FILE` texts name. Raises UsageError with everything that is wrong with them."""
    found: dict[Role, Path] = {}
    problems = []
    for text in parts:
        match = _PART.fullmatch(text)
        role = match["role"] if match else None
        if match is None or role not in set(Role):
            problems.append(Problem("options", f"--part {text}", "is no part", f"write {_usage()}"))
        elif role in found:
            problems.append(Problem("options", f"--part {text}", f"the {role} is given twice", "one model at a time"))
        else:
            found[Role(role)] = Path(match["path"])
    problems += [
        Problem("options", "--part", f"the {role} is missing", f"give {role}=FILE.onnx as well")
        for role in (Role.ENCODER, Role.DECODER)
        if role not in found and not problems
    ]
    UsageError.raise_if(problems)
    return _model(name, found)


def _model(name: str, found: Mapping[Role, Path]) -> ModelFile:
    return ModelFile(name, found[Role.DECODER], FurtherParts(found[Role.ENCODER], found.get(Role.DECODER_WITH_PAST)))


def _first(folder: Path, names: Iterable[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _usage() -> str:
    return ", ".join(f"{role}=FILE.onnx" for role in Role)
