"""Compile: model files in, a bundle out, or nothing at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from artifacts.bundle import Bundle
from artifacts.bundle_writer import write_bundle
from artifacts.canonical import sha256_file
from artifacts.checks import Tolerances
from artifacts.errors import Problem, TargetError, UsageError
from artifacts.freed_memory import keep_no_large_memory
from artifacts.manifest import MANIFEST_FILE
from artifacts.neuron_serving import NeuronServing
from artifacts.report import BuildReport
from artifacts.shard_store.store import ShardStore
from artifacts.shard_store.writer import OwnShards, ShardWriter, adopt, share_shards
from compiler.buckets.asked import bucket_problems
from compiler.build_log import BuildLog
from compiler.converters import find_converter
from compiler.generation import generation_files
from compiler.key import compilation_key
from compiler.neuron.tracers import tracer_tools
from compiler.neuron.tracing import tracing_problems
from compiler.neuron_flags import unknown_to
from compiler.options import CompileOptions, ModelFile, ScheduleName
from compiler.plan_files import engine_sizes, require_status
from compiler.plan_options import plan_problems
from compiler.precision_flags import precision_problems
from compiler.present import Present, find_present, find_unchanged
from compiler.serving import served_anew, serving_problems
from compiler.targets import Target, find_target
from compiler.tensorrt.contents import plan_notices


@dataclass(frozen=True)
class Compiled:
    """What a compilation left: the bundle, whether it was there already, how its build went, and the files it read.

    `served_anew` says of one that was there that the settings of its runtime are others now.
    """

    bundle: Bundle
    up_to_date: bool
    report: BuildReport
    files: tuple[Path, ...]
    served_anew: bool = False


def compile_bundle(
    models: Sequence[ModelFile],
    destination: Path,
    options: CompileOptions,
    *,
    force: bool = False,
    store: str | None = None,
    seconds: float | None = None,
    log: BuildLog | None = None,
) -> Compiled:
    """Compile models into one bundle at `destination`; their weights are shared.

    A bundle that is there and was made from the same inputs is left as it is, but for settings of its runtime, which
    become those of the options; another one is replaced only with `force`. With a `store`, which is made if it is not
    there, the bundle shares its shards; one that is up to date comes to share them, whichever store it shared before.
    `seconds` is how long a compiler that can be stopped may take for an engine; None leaves it to the target. Raises
    UnspoolError; then nothing is at the destination that was not there before.
    """
    log = log or BuildLog(quiet=True)
    target = find_target(options.target)
    _check_call(models, options, seconds, target)
    converter = find_converter(options)
    tools = {**target.tools(), **converter.tools(), **tracer_tools(options.tracing)}
    beside = _generation_files(models)
    generation = {name: sha256_file(path) for name, path in beside.items()}
    serving = options.serving if target.neuron_cores else None

    def key_of(digests: Mapping[str, str]) -> str:
        return compilation_key(models, digests, options, generation, tools, shared=store is not None)

    with log.stage("read", ", ".join(path.name for model in models for path in model.paths)):
        unchanged = None if force else find_unchanged(destination, models, key_of)
        if unchanged is not None:
            return _kept(unchanged, [*unchanged.files, *beside.values()], serving, store, log)
        from compiler.parts.reading import read_model

        read = {model.name: read_model(model) for model in models}
        key = key_of({name: model.digest for name, model in read.items()})
    files = [*(file for model in read.values() for file in model.files.values()), *beside.values()]
    external = {name: model.external for name, model in read.items()}
    present = None if force else find_present(destination, key)
    if present is not None:
        return _kept(present, files, serving, store, log)
    from compiler.parts.opening import loaded_sources

    keep_no_large_memory()
    if options.tune is not None:
        options = _tuned(models, options, log)
    with (
        loaded_sources(read) as sources,
        _shard_writer(store, destination) as shard_writer,
        write_bundle(destination, force=force) as writer,
    ):
        with log.stage("start", "PyTorch"):
            from compiler import backend, frontend, provenance
        program = frontend.make_program(models, sources, options, target, converter, log)
        sources.clear()  # from here on the weights are in the bundle: nothing needs to hold them in memory
        program, shards = backend.write_weights(program, target, writer, shard_writer, log)
        tolerances = log.loosened(Tolerances.of(options.atol, options.rtol))
        made = backend.Making(
            target,
            tools,
            converter.translations(),
            tolerances,
            options.weights,
            options.ranges,
            options.compute_capabilities,
            options.builder,
            options.neuron,
            seconds,
            serving,
            options.tracing,
        )
        manifest = backend.write_program(program, shards, made, writer, log)
        weights, sampled = provenance.weights_report(program, log.sources, log.passes), program.models
        del program
        manifest = backend.verified_engines(manifest, sampled, models, made, writer, log)
        require_status(manifest, options.require)
        sizes = engine_sizes(writer.root, manifest)
        log.notices += plan_notices(sizes)
        report = log.report(key, external, sizes, weights)
        with shard_writer.claim(manifest):
            bundle = writer.commit(manifest, report)
    return Compiled(bundle, False, report, tuple(files))


def _shard_writer(store: str | None, destination: Path) -> AbstractContextManager[ShardWriter]:
    if store is None:
        return nullcontext(OwnShards())
    return share_shards(ShardStore.open(store, create=True), destination)


def _tuned(models: Sequence[ModelFile], options: CompileOptions, log: BuildLog) -> CompileOptions:
    """The same options with the schedule that serves the lengths best, which a notice tells."""
    from compiler.tuning.lengths import read_lengths
    from compiler.tuning.tune import TuneOptions, tune

    assert options.tune is not None
    tuned = tune(models[0], options, TuneOptions(read_lengths(options.tune)), BuildLog(log.quiet))
    best, measured = tuned.rows[0].choice, tuned.rows[0].measured
    log.notices.append(
        f"{models[0].name}: tuned to {best.form}, {best.mean:.2f} ms predicted and {measured or 0:.2f} ms measured "
        f"for {tuned.lengths.mean:.1f} tokens on average; `unspool tune` shows the alternatives"
    )
    return replace(options, schedule=best.form.schedule, partitions=best.form.boundaries)


def _check_call(models: Sequence[ModelFile], options: CompileOptions, seconds: float | None, target: Target) -> None:
    names = [model.name for model in models]
    problems = [
        Problem("options", f"model {name!r}", "is given twice", "name them: a=FILE.onnx b=OTHER.onnx")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if options.tune is not None:
        flag, hint = f"--tune {options.tune}", "leave out one of the two"
        if len(models) != 1:
            one = "tune each with `unspool tune`, and compile those that agree together"
            problems.append(Problem("options", flag, f"is for one model, and there are {len(models)}", one))
        if options.schedule != ScheduleName.AUTO:
            problems.append(Problem("options", flag, f"chooses what --schedule {options.schedule} sets", hint))
        if options.partitions:
            problems.append(Problem("options", flag, "chooses what --partitions sets", hint))
    problems += precision_problems(options, target)
    problems += plan_problems(options, target)
    problems += unknown_to(options.neuron.model_fields_set, seconds, target)
    problems += serving_problems(options, target)
    problems += tracing_problems(options.tracing, target)
    problems += bucket_problems(options, target)
    UsageError.raise_if(problems)
    available = target.availability()
    if not available.usable:
        raise TargetError.of("target", target.name, "is not usable on this machine", available.hint)


def _generation_files(models: Sequence[ModelFile]) -> dict[str, Path]:
    return {f"{model.name}/{path.name}": path for model in models for path in generation_files(model.path)}


def _kept(
    present: Present, files: Sequence[Path], serving: NeuronServing | None, store: str | None, log: BuildLog
) -> Compiled:
    bundle = present.bundle
    others = bundle.manifest.serving != serving
    if others:
        bundle = served_anew(bundle, serving)
    if store is not None:
        log.notices += adopt(ShardStore.open(store, create=True), bundle)
    (bundle.root / MANIFEST_FILE).touch()  # make compares times
    return Compiled(bundle, True, present.report, tuple(files), others)
