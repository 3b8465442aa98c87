"""Compile: model files in, a bundle out, or nothing at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from artifacts.bundle import Bundle
from artifacts.bundle_writer import write_bundle
from artifacts.canonical import sha256_file
from artifacts.checks import Tolerances
from artifacts.errors import BundleError, Problem, TargetError, UsageError
from artifacts.manifest import MANIFEST_FILE
from artifacts.report import BuildReport
from compiler.build_log import BuildLog
from compiler.converters import find_converter
from compiler.generation import generation_files
from compiler.key import compilation_key
from compiler.options import CompileOptions, ModelFile, Precision
from compiler.parts.reading import read_model
from compiler.targets import Target, find_target


@dataclass(frozen=True)
class Compiled:
    """What a compilation left: the bundle, whether it was there already, and how its build went."""

    bundle: Bundle
    up_to_date: bool
    report: BuildReport


def compile_bundle(
    models: Sequence[ModelFile],
    destination: Path,
    options: CompileOptions,
    *,
    force: bool = False,
    log: BuildLog | None = None,
) -> Compiled:
    """Compile models into one bundle at `destination`; their weights are shared.

    A bundle that is there and was made from the same inputs is left as it is; another one is replaced only with
    `force`. Raises UnspoolError; then nothing is at the destination that was not there before.
    """
    log = log or BuildLog(quiet=True)
    target = find_target(options.target)
    _check_call(models, options, target)
    converter = find_converter(options)
    tools = {**target.tools(), **converter.tools()}
    with log.stage("read", ", ".join(path.name for model in models for path in model.paths)):
        read = {model.name: read_model(model) for model in models}
        digests = {name: files.digest for name, files in read.items()}
        key = compilation_key(models, digests, options, _generation_digests(models), tools)
    present = None if force else _present(destination, key)
    if present is not None:
        return present
    from compiler.parts.opening import loaded_sources

    with loaded_sources(read) as sources, write_bundle(destination, force=force) as writer:
        with log.stage("start", "PyTorch"):
            from compiler import backend, frontend
        program = frontend.make_program(models, sources, options, target, converter, log)
        sources.clear()  # from here on the weights are in the bundle: nothing needs to hold them in memory
        program, shards = backend.write_weights(program, target, writer, log)
        made = backend.Making(target, tools, converter.translations(), Tolerances.of(options.atol, options.rtol))
        manifest = backend.write_program(program, shards, models, made, writer, log)
        backend.require_status(manifest, options.require)
        report = log.report(key, backend.engine_sizes(manifest), backend.weights_report(program))
        return Compiled(writer.commit(manifest, report), False, report)


def _check_call(models: Sequence[ModelFile], options: CompileOptions, target: Target) -> None:
    names = [model.name for model in models]
    problems = [
        Problem("options", f"model {name!r}", "is given twice", "name them: a=FILE.onnx b=OTHER.onnx")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if options.precision not in (Precision.AUTO, *target.precisions):
        can = ", ".join(target.precisions)
        flag = f"--precision {options.precision}"
        problems.append(Problem("options", flag, f"target {target.name} cannot do it", f"it can do: {can}"))
    UsageError.raise_if(problems)
    available = target.availability()
    if not available.usable:
        raise TargetError.of("target", target.name, "is not usable on this machine", available.hint)


def _generation_digests(models: Sequence[ModelFile]) -> dict[str, str]:
    return {f"{model.name}/{path.name}": sha256_file(path) for model in models for path in generation_files(model.path)}


def _present(destination: Path, key: str) -> Compiled | None:
    """The bundle at the destination if it is up to date, None if there is nothing. Raises BundleError otherwise."""
    if not os.path.lexists(destination):
        return None
    bundle = Bundle.open(destination)
    report = bundle.report()
    if report is None or report.key != key:
        message = "holds a bundle that was made from other inputs or options"
        raise BundleError.of("bundle", str(destination), message, "replace it with --force, or choose another -o")
    (bundle.root / MANIFEST_FILE).touch()  # make compares times
    return Compiled(bundle, True, report)
