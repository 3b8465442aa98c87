"""Convert: an ONNX model to a torch.export program on disk, and no further."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.checks import Tolerances, require_equal
from artifacts.errors import UsageError
from artifacts.spec import Signature
from compiler.build_log import BuildLog
from compiler.converters import find_converter
from compiler.options import CompileOptions, ModelFile, ScheduleName
from compiler.targets import find_target

if TYPE_CHECKING:
    from artifacts.weights import WeightStore
    from passes.program import Function


@dataclass(frozen=True, eq=False)
class ConvertedModel:
    """A function that answers as its source, its weights, and the largest absolute difference that was seen.

    `one_size` is true if it takes the sizes of its first sample only, although the source takes others.
    """

    function: Function
    weights: WeightStore
    max_abs: float
    one_size: bool


def convert_model(model: ModelFile, options: CompileOptions, log: BuildLog) -> ConvertedModel:
    """Convert a model as it is, called once, and hold it to its source. Raises UnspoolError."""
    from compiler import frontend, sampling
    from compiler.parts.opening import opened_source
    from passes.verification import check_program

    single = replace(options, schedule=ScheduleName.SINGLE)
    converter = find_converter(single)
    with opened_source(model) as opened:
        with log.stage("load", model.name):
            loaded = sampling.load(model, opened, single, converter)
        with log.stage("sample", f"{model.name}: what the source answers"):
            source = sampling.sample(loaded, single, find_target(single.target)).model
        with log.stage("convert", f"{model.name} to PyTorch"):
            program, notices = frontend.to_program(loaded, source, converter)
            checks = check_program(program, Tolerances.of(options.atol, options.rtol))
    require_equal(checks, "convert", "conversion")
    log.notices += notices
    function = program.functions[model.name]
    worst = max((check.comparison.max_abs for check in checks), default=0.0)
    one_size = bool(loaded.signature.symbols) and not function.signature.symbols
    return ConvertedModel(function, program.weights, worst, one_size)


def convert_to_file(
    model: ModelFile, output: Path, options: CompileOptions, *, force: bool, log: BuildLog
) -> tuple[Signature, float]:
    """Convert a model, verify it on its samples and save it with its weights.

    Returns the signature and the largest absolute difference from the source. Raises UnspoolError; the file
    appears whole or not at all.
    """
    if output.exists() and not force:
        raise UsageError.of("convert", str(output), "is there already", "replace it with --force, or choose another -o")
    if not output.parent.is_dir():
        raise UsageError.of("convert", str(output.parent), "is not a folder", "make it first")
    converted = convert_model(model, options, log)
    _save(converted.function, converted.weights, output)
    return converted.function.signature, converted.max_abs


def _save(function: Function, weights: WeightStore, output: Path) -> None:
    import torch

    from passes.bodies import with_weights

    temporary = output.with_name(f".{output.name}.{os.getpid()}.pt2")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            torch.export.save(with_weights(function, weights), temporary)
        temporary.replace(output)
    except OSError as error:
        raise UsageError.of("convert", str(output), f"cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
