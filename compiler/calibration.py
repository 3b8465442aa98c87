"""Requests like those that will be made, in a folder: what the ranges of 8-bit values are found from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from artifacts.canonical import canonical_json, sha256_bytes, sha256_file
from artifacts.errors import BundleError, Problem, RunError, UsageError
from artifacts.runtime.inputs import checked_inputs
from artifacts.samples import Arrays, read_arrays
from artifacts.spec import TensorSpec

FLAG = "--calibration"


def calibration_files(folder: Path, models: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """The .npz files for each model, in the order of their names: those of FOLDER/MODEL, or of FOLDER itself.

    Raises UsageError with every model for which there are none.
    """
    found: dict[str, tuple[Path, ...]] = {}
    problems: list[Problem] = []
    for model in models:
        own = folder / model
        place = own if own.is_dir() else folder
        try:
            found[model] = tuple(sorted(path for path in place.iterdir() if path.suffix == ".npz" and path.is_file()))
        except OSError as error:
            problems.append(Problem("options", f"{FLAG} {place}", f"cannot be read: {error.strerror}"))
            continue
        if not found[model]:
            hint = "write requests with numpy.savez, the model's inputs by name"
            problems.append(Problem("options", f"{FLAG} {place}", "holds no .npz file", hint))
    UsageError.raise_if(dict.fromkeys(problems))
    return found


def calibration_digest(folder: Path, models: Sequence[str]) -> str:
    """SHA-256 over what the files hold, for each model in the order of their names. Raises UsageError."""
    files = calibration_files(folder, models)
    try:
        return sha256_bytes(canonical_json({model: [sha256_file(path) for path in files[model]] for model in models}))
    except OSError as error:
        raise UsageError.of("options", f"{FLAG} {error.filename}", f"cannot be read: {error.strerror}") from error


def read_calibration(
    folder: Path, model: str, inputs: Sequence[TensorSpec], made: Collection[str] = ()
) -> tuple[Arrays, ...]:
    """The inputs of a model from each file of the folder; what else a file holds is left aside.

    `made` names inputs that nobody has to give: a decode makes its tokens by itself. Raises UsageError with
    everything that does not fit, in all files.
    """
    wanted = [spec for spec in inputs if spec.name not in made]
    found: list[Arrays] = []
    problems: list[Problem] = []
    for path in calibration_files(folder, [model])[model]:
        try:
            arrays = read_arrays(path)
            given = {spec.name: arrays[spec.name] for spec in wanted if spec.name in arrays}
            found.append(checked_inputs(wanted, given))
        except (BundleError, RunError) as error:
            problems += [
                Problem("calibration", f"{path}: {problem.subject}", problem.message, problem.hint)
                for problem in error.problems
            ]
    UsageError.raise_if(problems)
    return tuple(found)
