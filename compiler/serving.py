"""How a bundle is to be served, as the command line says it: held to a target, and put into a bundle that is there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from artifacts.bundle import Bundle
from artifacts.bundle_writer import write_bundle
from artifacts.cores import Cores, parse_cores
from artifacts.errors import Problem, UsageError
from artifacts.manifest import REPORT_FILE
from artifacts.neuron_serving import NeuronServing
from compiler.options import CompileOptions
from compiler.targets import Target, all_targets


def cores_of(flag: str, text: str | None) -> Cores:
    """The cores that a flag names; () without one. Raises UsageError."""
    try:
        return () if text is None else parse_cores(text)
    except ValueError as error:
        raise UsageError.of("options", flag, str(error)) from error


def serving_of(before: NeuronServing, **flags: Any) -> NeuronServing:
    """The same with what flags say; None and () say nothing. Raises UsageError for what contradicts itself.

    Cores that are named take the place of a count, and a count that of names.
    """
    given = {name: value for name, value in flags.items() if value not in {None, ()}}
    cores = {"num_cores", "visible_cores"}
    kept = {
        name: value
        for name, value in before.model_dump(exclude_defaults=True).items()
        if name not in cores or not cores & given.keys()
    }
    try:
        return NeuronServing.model_validate({**kept, **given})
    except ValidationError as error:
        raise UsageError(
            *(
                Problem(
                    "options",
                    ", ".join(f"--{str(name).replace('_', '-')}" for name in fault["loc"] or given),
                    fault["msg"].removeprefix("Value error, "),
                    "docs/neuron.md, Serving, says what goes together",
                )
                for fault in error.errors(include_url=False)
            )
        ) from error


def serving_problems(options: CompileOptions, target: Target) -> list[Problem]:
    """A problem for every option of serving, if the target's engines do not run on NeuronCores."""
    if target.neuron_cores:
        return []
    names = [f"--target {name}" for name, each in all_targets().items() if each.neuron_cores]
    hint = f"leave it out, or give {' or '.join(names)}; `unspool launch` starts instances of any bundle"
    message = f"means nothing to target {target.name}"
    return [
        Problem("options", f"--{name.replace('_', '-')}", message, hint)
        for name in options.serving.model_dump(exclude_defaults=True)
    ]


def served_anew(bundle: Bundle, serving: NeuronServing | None) -> Bundle:
    """The bundle in place with other settings of its runtime, and the very same files beside them. Raises BundleError.

    It is replaced as a whole, as by a compilation, so that nobody finds half of it.
    """
    settings = {} if serving is None else serving.settings
    manifest = bundle.manifest.model_copy(update={"serving": serving, "settings": settings})
    report = [REPORT_FILE] if (bundle.root / REPORT_FILE).exists() else []
    with write_bundle(bundle.root.resolve(), force=True) as writer:
        for path in (*manifest.files, *report):
            _same_file(bundle.root / path, writer.root / path)
        writer.commit(manifest)
    return Bundle(bundle.root, manifest)


def _same_file(there: Path, here: Path) -> None:
    """A further name of a file, or a copy where the file system has no such names."""
    here.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(there, here)
    except OSError:
        shutil.copyfile(there, here)
