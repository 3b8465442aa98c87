"""Model files through every converter: which of them convert, and what stands in the way of the others.

A file converts if the program that it becomes gives, in PyTorch, the answers that ONNX Runtime gives from the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from artifacts.errors import NumericsError, UnspoolError, UnsupportedError, UsageError
from artifacts.noun import Noun
from compiler.build_log import BuildLog
from compiler.convert import convert_model
from compiler.converters import find_converter
from compiler.options import CompileOptions, ConverterName, ModelFile

Outcome = Literal["converted", "one size", "unsupported", "wrong", "failed"]
"""`one size`: recorded for the sizes of the sample only, although the file leaves them open."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class Conversion(Noun):
    """How one converter ended on one file, and why if it is not converted."""

    model: str
    converter: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()


class Comparison(Noun):
    """How every converter ended on every file; `tools` are the versions of what converted."""

    tools: Mapping[str, str]
    conversions: tuple[Conversion, ...]

    def document(self) -> dict[str, Any]:
        """The record as JSON."""
        return {"comparison": self.model_dump(mode="json")}

    def count(self, converter: str, outcome: Outcome) -> int:
        """Files on which a converter ended in this way."""
        return sum((found.converter, found.outcome) == (converter, outcome) for found in self.conversions)


def read_comparison(path: Path) -> Comparison:
    """The record that `unspool ops --compare ... --json` printed into a file. Raises UsageError if it is none."""
    try:
        return Comparison.model_validate_json(json.dumps(json.loads(path.read_bytes())["comparison"]))
    except OSError as error:
        raise UsageError.of("options", str(path), f"cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        message = "is not what `unspool ops --compare ... --json` prints"
        raise UsageError.of("options", str(path), message, "write it anew") from error


def compare_models(places: Sequence[Path], log: BuildLog) -> Comparison:
    """Convert the files at these places with every converter; below a folder each `.onnx` file counts.

    A file is named by its place below the folder. Raises MissingToolError if a converter is not installed.
    """
    options = {name: CompileOptions(converter=name) for name in ConverterName}
    tools = {tool: version for chosen in options.values() for tool, version in find_converter(chosen).tools().items()}
    files = [found for place in places for found in _files(place)]
    return Comparison(
        tools=tools,
        conversions=tuple(_conversion(name, path, chosen, log) for name, path in files for chosen in options.values()),
    )


def _files(place: Path) -> Iterator[tuple[str, Path]]:
    if place.is_dir():
        yield from ((path.relative_to(place).as_posix(), path) for path in sorted(place.rglob("*.onnx")))
    else:
        yield place.name, place


def _conversion(name: str, path: Path, options: CompileOptions, log: BuildLog) -> Conversion:
    with log.stage("convert", f"{name} by {options.converter}"):
        outcome, reasons = _outcome(path, options)
    return Conversion(model=name, converter=options.converter.value, outcome=outcome, reasons=reasons)


def _outcome(path: Path, options: CompileOptions) -> tuple[Outcome, tuple[str, ...]]:
    try:
        converted = convert_model(ModelFile("model", path), options, BuildLog(quiet=True))
    except UnsupportedError as error:
        return "unsupported", _reasons(error, path)
    except NumericsError as error:
        return "wrong", _reasons(error, path)
    except UnspoolError as error:
        return "failed", _reasons(error, path)
    return ("one size" if converted.one_size else "converted"), ()


def _reasons(error: UnspoolError, path: Path) -> tuple[str, ...]:
    """What went wrong, without the folder that the file lies in."""
    return tuple(f"{found.subject.replace(str(path), path.name)}: {found.message}" for found in error.problems)
