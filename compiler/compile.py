"""Compile: model files in, a bundle out, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue

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
from compiler.converters import ModelConverter, find_converter
from compiler.generation import generation_files
from compiler.key import Ingredients, compilation_key, ingredients
from compiler.neuron.tracers import tracer_tools
from compiler.neuron.tracing import tracing_problems
from compiler.neuron_flags import unknown_to
from compiler.options import CompileOptions, Existing, ModelFile, ScheduleName
from compiler.plan_files import engine_sizes, require_status
from compiler.plan_options import plan_problems
from compiler.precision_flags import precision_problems
from compiler.present import Unchanged, find_present, find_unchanged
from compiler.serving import served_anew, serving_problems
from compiler.skipped_passes import skip_problems
from compiler.targets import find_target
from compiler.tensorrt.contents import plan_notices
from passes.memo import FORGETFUL, Memo


@dataclass(frozen=True)
class Compiled:
    """What a compilation left: the bundle, whether it was there already, how its build went, and the files it read.

    `served_anew` says of one that was there that the settings of its runtime are others now. `ingredients` are all that
    decides what is made.
    """

    bundle: Bundle
    up_to_date: bool
    report: BuildReport
    files: tuple[Path, ...]
    ingredients: Ingredients
    served_anew: bool = False


def compile_bundle(
    models: Sequence[ModelFile],
    destination: Path,
    options: CompileOptions,
    *,
    existing: Existing = Existing.KEEP,
    store: str | None = None,
    seconds: float | None = None,
    log: BuildLog | None = None,
    memo: Memo = FORGETFUL,
) -> Compiled:
    """Compile models into one bundle at `destination`; their weights are shared.

    A bundle that is there and was made from the same inputs is left as it is, but for settings of its runtime, which
    become those of the options, unless `existing` wants it made anew; another one is replaced only if `existing` says
    so. With a `store`, which is made if it is not there, the bundle shares its shards; one that is up to date comes to
    share them, whichever store it shared before. `seconds` is how long a compiler that can be stopped may take for an
    engine; None leaves it to the target. What a `memo` has of an earlier compilation of the same models is not done
    again. Raises UnspoolError; then nothing is at the destination that was not there before.
    """
    log = log or BuildLog(quiet=True)
    UsageError.raise_if(call_problems(models, options, seconds))
    target = find_target(options.target)
    available = target.availability()
    if not available.usable:
        raise TargetError.of("target", target.name, "is not usable on this machine", available.hint)
    about = Circumstances.of(models, options)
    serving = options.serving if target.neuron_cores else None
    replaces = existing is not Existing.KEEP

    def ingredients_of(digests: Mapping[str, str]) -> Ingredients:
        return about.ingredients(digests, shared=store is not None)

    with log.stage("read", ", ".join(path.name for model in models for path in model.paths)):
        unchanged = None if existing is Existing.REMAKE else find_unchanged(destination, models, ingredients_of)
        if unchanged is not None:
            return _kept(unchanged, [*unchanged.files, *about.beside.values()], serving, store, log)
        from compiler.parts.reading import read_model

        read = {model.name: read_model(model) for model in models}
        found = ingredients_of({name: model.digest for name, model in read.items()})
    key = compilation_key(found)
    files = [*(file for model in read.values() for file in model.files.values()), *about.beside.values()]
    external = {name: model.external for name, model in read.items()}
    present = None if existing is Existing.REMAKE else find_present(destination, key, or_none=replaces)
    if present is not None:
        return _kept(Unchanged(present.bundle, present.report, tuple(files), found), files, serving, store, log)
    from compiler.parts.opening import loaded_sources

    keep_no_large_memory()
    if options.tune is not None:
        options = _tuned(models, options, log)
    with (
        loaded_sources(read) as sources,
        _shard_writer(store, destination) as shard_writer,
        write_bundle(destination, force=replaces) as writer,
    ):
        with log.stage("start", "PyTorch"):
            from compiler import backend, frontend, provenance
        program = frontend.make_program(models, sources, options, target, about.converter, log, memo)
        sources.clear()  # from here on the weights are in the bundle: nothing needs to hold them in memory
        program, shards = backend.write_weights(program, target, writer, shard_writer, log)
        tolerances = log.loosened(Tolerances.of(options.atol, options.rtol))
        made = backend.Making(
            target,
            about.tools,
            about.converter.translations(),
            tolerances,
            options.weights,
            options.ranges,
            options.compute_capabilities,
            options.builder,
            options.neuron,
            seconds,
            serving,
            options.tracing,
            memo.once(("translated", options.custom_ops), dict) if memo.keeps else None,
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
    return Compiled(bundle, False, report, tuple(files), found)


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


def call_problems(models: Sequence[ModelFile], options: CompileOptions, seconds: float | None) -> list[Problem]:
    """What is wrong with a call, as far as can be told without reading a model. Raises UsageError for the target."""
    target = find_target(options.target)
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
    problems += skip_problems(options, target)
    problems += plan_problems(options, target)
    problems += unknown_to(options.neuron.model_fields_set, seconds, target)
    problems += serving_problems(options, target)
    problems += tracing_problems(options.tracing, target)
    problems += bucket_problems(options, target)
    return problems


@dataclass(frozen=True, eq=False)
class Circumstances:
    """What decides what a compilation makes, beside the content of its models: tools, and files beside the models.

    `generation` are digests of the files in `beside`, by the model's name and theirs.
    """

    models: tuple[ModelFile, ...]
    options: CompileOptions
    converter: ModelConverter
    tools: Mapping[str, str]
    beside: Mapping[str, Path]
    generation: Mapping[str, str]
    digest_of: Callable[[Path], str]

    @classmethod
    def of(
        cls, models: Sequence[ModelFile], options: CompileOptions, digest_of: Callable[[Path], str] = sha256_file
    ) -> Circumstances:
        """Look around; `digest_of` gives the SHA-256 of a file. Raises UnspoolError for what is not to be had."""
        converter = find_converter(options)
        tools = {**find_target(options.target).tools(), **converter.tools(), **tracer_tools(options.tracing)}
        beside = {f"{model.name}/{path.name}": path for model in models for path in generation_files(model.path)}
        generation = {name: digest_of(path) for name, path in beside.items()}
        return cls(tuple(models), options, converter, tools, beside, generation, digest_of)

    @property
    def serving(self) -> JsonValue:
        """How the bundle is to be served, where its target has a say in that: no ingredient, but in its manifest."""
        if not find_target(self.options.target).neuron_cores:
            return None
        served: JsonValue = self.options.serving.model_dump(mode="json")
        return served

    def ingredients(self, digests: Mapping[str, str], *, shared: bool) -> Ingredients:
        """All that goes into the compilation, with the digests of the models."""
        return ingredients(
            self.models,
            digests,
            self.options,
            self.generation,
            self.tools,
            shared=shared,
            digest_of=self.digest_of,
        )


def _kept(
    present: Unchanged, files: Sequence[Path], serving: NeuronServing | None, store: str | None, log: BuildLog
) -> Compiled:
    bundle = present.bundle
    others = bundle.manifest.serving != serving
    if others:
        bundle = served_anew(bundle, serving)
    if store is not None:
        log.notices += adopt(ShardStore.open(store, create=True), bundle)
    (bundle.root / MANIFEST_FILE).touch()  # make compares times
    return Compiled(bundle, True, present.report, tuple(files), present.ingredients, others)
