"""The bundle that is at a destination already, and whether it is what a compilation would make."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from artifacts.bundle import Bundle
from artifacts.errors import BundleError
from artifacts.report import BuildReport
from compiler.options import ModelFile
from compiler.parts.digests import listed_digest, listed_files
from compiler.parts.folder import Role, paths_by_role


@dataclass(frozen=True)
class Present:
    """An up-to-date bundle."""

    bundle: Bundle
    report: BuildReport


@dataclass(frozen=True)
class Unchanged(Present):
    """An up-to-date bundle, and the files of the models, which were not read as models to find that out."""

    files: tuple[Path, ...]


def find_present(destination: Path, key: str) -> Present | None:
    """The bundle at the destination if its key is this one, None if there is nothing. Raises BundleError otherwise."""
    if not os.path.lexists(destination):
        return None
    bundle = Bundle.open(destination)
    report = bundle.report()
    if report is None or report.key != key:
        message = "holds a bundle that was made from other inputs or options"
        raise BundleError.of("bundle", str(destination), message, "replace it with --force, or choose another -o")
    return Present(bundle, report)


def find_unchanged(
    destination: Path, models: Sequence[ModelFile], key_of: Callable[[Mapping[str, str]], str]
) -> Unchanged | None:
    """The bundle at the destination if the models, as they are now, give its key.

    It names their external files, so that they need not be parsed: `key_of` gives a key of their digests by name.
    None says nothing, only that the models have to be read.
    """
    try:
        bundle = Bundle.open(destination)
        report = bundle.report()
        if report is None or set(report.external) != {model.name for model in models}:
            return None
        external: dict[str, Mapping[Role, Mapping[str, Path]]] = {}
        for model in models:
            found = listed_files(model, report.external[model.name])
            if found is None:
                return None
            external[model.name] = found
        digests = {model.name: listed_digest(model, external[model.name]) for model in models}
    except (BundleError, OSError):
        return None
    if report.key != key_of(digests):
        return None
    files = [
        file
        for model in models
        for role, path in paths_by_role(model).items()
        for file in (path, *external[model.name][role].values())
    ]
    return Unchanged(bundle, report, tuple(files))
