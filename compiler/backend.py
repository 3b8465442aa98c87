"""The back half of a compilation: a Program in, the files of a bundle and its manifest out."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from artifacts.bundle import Bundle
from artifacts.bundle_writer import BundleWriter
from artifacts.checks import OutputCheck, Tolerances, require_equal
from artifacts.engine_sources import HLO_SUFFIX, can_run
from artifacts.freed_memory import give_back
from artifacts.manifest import (
    EngineEntry,
    Manifest,
    ModelEntry,
    Numerics,
    PassEntry,
    SampleFiles,
    Verdict,
    Weights,
)
from artifacts.neuron_options import NeuronOptions
from artifacts.neuron_serving import NeuronServing
from artifacts.plan_build import BuilderOptions
from artifacts.samples import Arrays, Sample, archive_bytes
from artifacts.shard_store.writer import ShardWriter
from artifacts.shards import ShardIndex, mapped
from artifacts.tolerances import TOLERANCES
from artifacts.verification import check_bundle
from artifacts.weights import WeightRef
from compiler.buckets.checks import is_padded_check, padding_notices, with_known_padding
from compiler.buckets.engines import BuiltModel, build_model, served
from compiler.build_log import BuildLog
from compiler.locate import locate_in_engine
from compiler.neuron.tracing import Tracing
from compiler.options import ModelFile, WeightsName
from compiler.parts.opening import opened_source
from compiler.plan_files import with_plan
from compiler.runnable import runnable
from compiler.shapes import ShapeRanges
from compiler.targets import Target
from compiler.targets.target import BuiltEngine, Placement, Translations
from compiler.version import version
from compiler.weight_access import with_access, with_measured_access
from passes.program import Function, Model, Program

SAMPLE_BYTES = 1 << 20
"""Room for a model's samples in its bundle. A compilation is verified on all of them, whatever their size."""


@dataclass(frozen=True)
class Making:
    """What decides the bundle that a program becomes.

    `tools` are the versions that its manifest names, `translations` those of operators that no target knows. `weights`
    is how its engines take their weights by default; None leaves that to the target. `serving` is the manifest's;
    `shapes` and what follows are those of `Placement`.
    """

    target: Target
    tools: Mapping[str, str]
    translations: Translations
    tolerances: Tolerances
    weights: WeightsName | None
    shapes: tuple[ShapeRanges, ...] = ()
    capabilities: tuple[str, ...] = ()
    builder: BuilderOptions = field(default_factory=BuilderOptions)
    neuron: NeuronOptions = field(default_factory=NeuronOptions)
    seconds: float | None = None
    serving: NeuronServing | None = None
    tracing: Tracing = field(default_factory=Tracing)
    translated: MutableMapping[Function, Any] | None = None


def write_weights(
    program: Program, target: Target, writer: BundleWriter, shard_writer: ShardWriter, log: BuildLog
) -> tuple[Program, ShardIndex]:
    """Write the weights. The program that is returned has them from the bundle, so that the one given can go."""
    refs = used_weights(program)
    with log.stage("weights", f"{len(refs)} tensors"):
        shards = shard_writer.write_shards(program.weights, target.stored(refs), writer.root)
    log.notices += shard_writer.notices
    return replace(program, weights=mapped(program.weights, shards.shards, writer.root)), shards


def write_program(
    program: Program, shards: ShardIndex, making: Making, writer: BundleWriter, log: BuildLog
) -> Manifest:
    """Write engines and samples, and describe it all. Raises TargetError if an engine cannot be made."""
    target, tolerances = making.target, making.tolerances
    placement = Placement(
        writer.root,
        program.weights,
        shards,
        making.translations,
        shapes=making.shapes,
        capabilities=making.capabilities,
        builder=making.builder,
        neuron=making.neuron,
        seconds=making.seconds,
        tracing=making.tracing,
        translated=making.translated,
    )
    engines: dict[str, EngineEntry] = {}
    models: dict[str, ModelEntry] = {}
    written: dict[bytes, str] = {}
    for name in program.models:
        with log.stage("emit", f"{name} for {target.name}") as tell:
            built = build_model(target, program, name, replace(placement, tell=tell))
        engines |= {engine: _write_engine(engine, found, target, writer) for engine, found in built.engines.items()}
        log.notices += [f"{name}: {notice}" for notice in dict.fromkeys(built.notices)]
        models[name] = _model(program, name, built, writer, written)
    engines = with_access(engines, making.weights)
    return Manifest(
        unspool=version(),
        models=models,
        engines=engines,
        weights=Weights(layout="store" if shards.shards else "inline", shards=shards.shards),
        passes=tuple(PassEntry(name=run.step.name, options=run.step.options) for run in log.passes),
        tools=dict(making.tools),
        numerics=Numerics(
            tolerances={dtype: tolerances.for_dtype(dtype) for dtype in TOLERANCES},
            exact_tokens=tolerances.exact_tokens,
        ),
        serving=making.serving,
        settings={} if making.serving is None else making.serving.settings,
        files=writer.inventory(),
    )


def verified_engines(
    manifest: Manifest,
    models: Mapping[str, Model],
    files: Sequence[ModelFile],
    making: Making,
    writer: BundleWriter,
    log: BuildLog,
) -> Manifest:
    """The manifest after what can run here has answered the samples of the models, which were read from `files`.

    An engine takes as much memory as its weights, so nothing else should be held by now. Raises NumericsError if one
    answers differently from the source.
    """
    tolerances, checks = making.tolerances, list[OutputCheck]()
    samples = {name: served(model) for name, model in models.items()}
    bundle = Bundle(writer.root, manifest)
    with runnable(bundle) as proof:
        with log.stage("verify", "engines against the source"):
            for name in models:
                give_back()
                checks += check_bundle(proof, {name: samples[name]}, tolerances)
        log.record(checks, "engine")
        padded = [check for check in checks if is_padded_check(bundle.manifest, samples, check)]
        log.record([replace(check, required=True) for check in padded if not check.required], "padding")
        log.notices += [
            f"{check.model}: {_what_moved(check)}"
            for check in checks
            if not check.comparison.passed and check not in padded
        ]
        log.notices += padding_notices(bundle.manifest, samples, padded)
        where = _where_moved(proof.manifest, models, checks, tolerances, writer.root, files)
    require_equal([check for check in checks if check not in padded], "verify", "emission", where)
    require_equal(padded, "verify", "padding to its bucket", "; --padding measured tells that and goes on")
    bundle = Bundle(writer.root, with_known_padding(bundle.manifest, padded))
    return _verified(with_measured_access(bundle, samples, making.weights, log))


def _compared(manifest: Manifest, model: str) -> str:
    """What was compared last: the engines of a model, or the ONNX that they were made from."""
    held = manifest.models[model].engines
    return "engines" if all(can_run(manifest.engines[name]) for name in held) else "engine sources"


def _what_moved(check: OutputCheck) -> str:
    """What fewer bits made of a sample's tokens."""
    found = check.comparison
    return f"sample {check.sample}: {found.mismatched} of {found.size} {check.output} are not the source's"


def _where_moved(
    manifest: Manifest,
    models: Mapping[str, Model],
    checks: Sequence[OutputCheck],
    tolerances: Tolerances,
    root: Path,
    files: Sequence[ModelFile],
) -> str:
    """Where the engine of the first check that failed left its source; "" if none failed or none can be told."""
    moved = next((check for check in checks if not check.passed), None)
    if moved is None:
        return ""
    model = models[moved.model]
    engine = manifest.engines[manifest.models[moved.model].held[0][model.schedule.main][0]]
    sample = served(model)[moved.sample]
    if any(spec.name not in sample.inputs for spec in engine.signature.inputs):
        return ""
    with opened_source(next(file for file in files if file.name == moved.model)) as source:
        return str(locate_in_engine(source, root, engine, sample, tolerances) or "")


def used_weights(program: Program) -> tuple[WeightRef, ...]:
    """The references of every function, each once, in the order of the functions' names."""
    found = (ref for _, function in sorted(program.functions.items()) for ref in function.weights.values())
    return tuple(dict.fromkeys(found))


def _write_engine(name: str, built: BuiltEngine, target: Target, writer: BundleWriter) -> EngineEntry:
    source = f"engines/{name}{built.suffix}"
    writer.add(source, built.source)
    for path, data in built.files.items():
        writer.add(path, data)
    return with_plan(
        name,
        EngineEntry(
            kind=built.kind or target.kind,
            target=target.name,
            signature=built.signature,
            source=source,
            status=built.made.status,
            session=dict(built.session),
            bindings=dict(built.bindings),
            aliases=dict(built.aliases),
            weights=built.made.weights,
        ),
        built.made,
        writer,
    )


def _model(
    program: Program,
    name: str,
    built: BuiltModel,
    writer: BundleWriter,
    written: MutableMapping[bytes, str],
) -> ModelEntry:
    """The entry of a model, whose samples are written unless `written` has the same bytes of another's."""
    model = program.models[name]
    return ModelEntry(
        source=model.digest,
        signature=model.signature,
        schedule=model.schedule,
        functions=dict(built.functions),
        buckets=built.buckets,
        samples=tuple(
            _write_sample(writer, f"samples/{name}-{number}", sample, written)
            for number, sample in enumerate(_small(served(model)))
        ),
    )


def _small(samples: Sequence[Sample]) -> list[Sample]:
    """The samples that a bundle carries: the smallest one, and others in their order while they fit."""
    smallest = min(samples, key=_nbytes)
    room = SAMPLE_BYTES - _nbytes(smallest)
    kept = []
    for sample in samples:
        if sample is not smallest:
            if _nbytes(sample) > room:
                continue
            room -= _nbytes(sample)
        kept.append(sample)
    return kept


def _nbytes(sample: Sample) -> int:
    return sum(array.nbytes for arrays in (sample.inputs, sample.outputs) for array in arrays.values())


def _write_sample(writer: BundleWriter, stem: str, sample: Sample, written: MutableMapping[bytes, str]) -> SampleFiles:
    """The sample as files, which are those of another sample where that is the same: tasks may share their inputs."""

    def path_of(part: str, arrays: Arrays) -> str:
        data = archive_bytes(arrays)
        if data not in written:
            written[data] = f"{stem}.{part}.npz"
            writer.add(written[data], data)
        return written[data]

    return SampleFiles(
        inputs=path_of("inputs", sample.inputs),
        outputs=path_of("outputs", sample.outputs),
        decoded=path_of("decoded", sample.decoded) if sample.decoded else None,
    )


def _after_proof(engine: EngineEntry) -> dict[str, object]:
    """What an engine's entry becomes when it, or its source, has agreed with the source model."""
    if can_run(engine):
        return {"status": "verified", "needs": ()}
    proven = engine.status == "emitted" and engine.source.endswith(HLO_SUFFIX)
    return {"status": "hlo-verified"} if proven else {}


def _verified(manifest: Manifest) -> Manifest:
    """The manifest after every engine that runs here has agreed with the source, and the ONNX of the others has."""
    engines = {name: engine.model_copy(update=_after_proof(engine)) for name, engine in manifest.engines.items()}
    verdicts: Mapping[str, tuple[Verdict, ...]] = {
        name: tuple(Verdict(compared=what, passed=True) for what in ("conversion", "passes", _compared(manifest, name)))
        for name in manifest.models
    }
    numerics = manifest.numerics.model_copy(update={"verdicts": verdicts})
    return manifest.model_copy(update={"engines": engines, "numerics": numerics})
