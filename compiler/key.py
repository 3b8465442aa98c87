"""A digest of everything that decides what a compilation makes. Equal keys: nothing to do."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

import artifacts
import compiler
import passes
from artifacts.canonical import canonical_json, sha256_bytes, sha256_file
from artifacts.errors import UsageError
from compiler.calibration import calibration_digest
from compiler.options import CompileOptions, ModelFile

_BY_CONTENT = {"samples", "tune", "buckets", "bucket_costs", "calibration", "custom_ops"}
"""Options that name files: what counts is what those hold."""

_NOT_MADE = {"serving"}
"""Options that change no engine: another manifest is put over the files that are there."""


Ingredients = Mapping[str, JsonValue]
"""What goes into a compilation, as JSON has it: two that are equal make the same bundle."""


def ingredients(
    models: Sequence[ModelFile],
    digests: Mapping[str, str],
    options: CompileOptions,
    generation: Mapping[str, str],
    tools: Mapping[str, str],
    *,
    shared: bool = False,
    digest_of: Callable[[Path], str] = sha256_file,
) -> Ingredients:
    """What decides what a compilation makes.

    `digests` are those of the source models by name, `generation` of the configuration files beside them, `tools`
    the versions of what the target and the converter use, the digests of custom operators' code among them; `shared`
    says that weights are cut into shards for a store, whichever that is. Paths do not count: a moved model is the same
    model. `digest_of` gives the SHA-256 of a file. Raises UsageError if the samples, the lengths, the sizes or the
    calibration cannot be read.
    """
    settings = _options_adapter().dump_python(options, mode="json", exclude=_BY_CONTENT | _NOT_MADE)
    names = [model.name for model in models]
    calibration = None if options.calibration is None else calibration_digest(options.calibration, names)
    return {
        "models": [[model.name, digests[model.name]] for model in models],
        "options": settings,
        "samples": _digest_of("--samples", options.samples, digest_of),
        "tune": _digest_of("--tune", options.tune, digest_of),
        "buckets": _digest_of("--buckets", options.buckets, digest_of),
        "bucket_costs": _digest_of("--bucket-costs", options.bucket_costs, digest_of),
        "calibration": calibration,
        "generation": dict(generation),
        "tools": dict(tools),
        "shared": shared,
        "unspool": own_digest(),
        "machine": [platform.machine(), platform.python_version()],
    }


def compilation_key(found: Ingredients) -> str:
    """The key of a compilation, SHA-256 in hexadecimal."""
    return sha256_bytes(canonical_json(dict(found)))


@cache
def _options_adapter() -> TypeAdapter[CompileOptions]:
    return TypeAdapter(CompileOptions)


@cache
def own_digest() -> str:
    """SHA-256 over Unspool's own source: a changed pass makes every earlier bundle out of date."""
    return source_digest({package.__name__: Path(package.__path__[0]) for package in (artifacts, compiler, passes)})


def source_digest(packages: Mapping[str, Path]) -> str:
    """SHA-256 over the Python files of packages, given by name with the folder that each lies in."""
    files = {
        f"{name}/{file.relative_to(root).as_posix()}": sha256_file(file)
        for name, root in packages.items()
        for file in sorted(root.rglob("*.py"))
    }
    return sha256_bytes(canonical_json(dict(files)))


def _digest_of(flag: str, path: Path | None, digest_of: Callable[[Path], str]) -> str | None:
    try:
        return None if path is None else digest_of(path)
    except OSError as error:
        raise UsageError.of("options", f"{flag} {path}", f"cannot be read: {error.strerror}") from error
