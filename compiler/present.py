"""The bundle that is at a destination already, and whether it is what a compilation would make."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from artifacts.bundle import Bundle
from artifacts.errors import BundleError
from artifacts.report import BuildReport
from compiler.key import Ingredients, compilation_key
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
    ingredients: Ingredients


def find_present(destination: Path, key: str, *, or_none: bool = False) -> Present | None:
    """The bundle at the destination if its key is this one, None if there is nothing.

    Raises BundleError for anything else there; with `or_none` that is None as well.
    """
    if not os.path.lexists(destination):
        return None
    try:
        bundle = Bundle.open(destination)
        report = bundle.report()
    except BundleError:
        if or_none:
            return None
        raise
    if report is not None and report.key == key:
        return Present(bundle, report)
    if or_none:
        return None
    message = "holds a bundle that was made from other inputs or options"
    hint = "replace it with --replace or --force, or choose another -o"
    raise BundleError.of("bundle", str(destination), message, hint)


def find_unchanged(
    destination: Path, models: Sequence[ModelFile], ingredients_of: Callable[[Mapping[str, str]], Ingredients]
) -> Unchanged | None:
    """The bundle at the destination if the models, as they are now, give its key.

    It names their external files, so that they need not be parsed: `ingredients_of` gives what goes into the
    compilation by their digests by name.
    None says nothing, only that the models have to be read.
    """
    try:
        bundle = Bundle.open(destination)
        report = bundle.report()
        if report is None or set(report.external) != {model.name for model in models}:
            return None
        external: dict[str, Mapping[Role, Mapping[str, Path]]] = {}
        for model in models:
            named = listed_files(model, report.external[model.name])
            if named is None:
                return None
            external[model.name] = named
        digests = {model.name: listed_digest(model, external[model.name]) for model in models}
    except (BundleError, OSError):
        return None
    found = ingredients_of(digests)
    if report.key != compilation_key(found):
        return None
    files = [
        file
        for model in models
        for role, path in paths_by_role(model).items()
        for file in (path, *external[model.name][role].values())
    ]
    return Unchanged(bundle, report, tuple(files), found)
