"""Emit: make plans of the engine sources that a bundle carries. Neither the model nor torch is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from artifacts.bundle import Bundle
from artifacts.bundle_writer import BundleWriter, write_bundle
from artifacts.canonical import BLOCK_BYTES, canonical_json, sha256_bytes
from artifacts.checks import Tolerances, require_equal
from artifacts.cuda import gpu_capability
from artifacts.engine_sources import can_run
from artifacts.errors import Problem, TargetError, UsageError
from artifacts.manifest import MANIFEST_FILE, Build, EngineEntry, Manifest, Status, Verdict
from artifacts.neuron_options import NeuronOptions
from artifacts.packing import commit_in
from artifacts.plan_build import PlanBuild
from artifacts.report import BuildReport, EngineSize
from artifacts.samples import stored_samples
from artifacts.shard_store.store import ShardStore
from artifacts.shard_store.writer import adopt
from artifacts.verification import check_bundle
from artifacts.weight_costs import weight_costs
from compiler.build_log import BuildLog, this_machine
from compiler.key import own_digest
from compiler.neuron_flags import neuron_options, unknown_to
from compiler.plan_files import engine_sizes, layers_path, require_status, with_plan
from compiler.plan_options import builder_problems
from compiler.present import find_present
from compiler.targets import all_targets, find_target
from compiler.targets.target import PlanMaker, PlanSource
from compiler.tensorrt.capabilities import FLAG, type_problems, unknown_problems
from compiler.tensorrt.contents import plan_notices


@dataclass(frozen=True)
class Emitted:
    """A bundle with plans, and whether it was there already."""

    bundle: Bundle
    up_to_date: bool


@dataclass(frozen=True)
class Anew:
    """What a maker is told in place of what the bundle says.

    `capabilities` are the GPUs to build for, () for the bundle's own; `neuron` has fields of what AWS Neuron's compiler
    is told, `seconds` how long that may take for an engine.
    """

    capabilities: tuple[str, ...] = ()
    neuron: Mapping[str, object] = field(default_factory=dict)
    seconds: float | None = None


def emit_bundle(
    source: Path,
    target: str,
    destination: Path,
    *,
    anew: Anew | None = None,
    require: Status | None = None,
    force: bool = False,
    store: str | None = None,
    log: BuildLog | None = None,
) -> Emitted:
    """Make a bundle at `destination` whose plans a target made of the sources of the one at `source`.

    All that is not a plan is as in the bundle at `source`, and so is what the maker is told, but for what `anew` has.
    With a `store` the bundle shares its shards. A bundle that is there and was made like this is left as it is; another
    one is replaced only with `force`. Raises UnspoolError; then nothing is at the destination that was not there
    before.
    """
    log = log or BuildLog(quiet=True)
    anew = anew or Anew()
    maker = _maker(target, anew)
    with log.stage("read", str(source)):
        given = Bundle.open(source)
    builds = _builds(given.manifest, maker, anew)
    key = _key(given.manifest, maker, builds)
    present = None if force else find_present(destination, key)
    if present is not None:
        if store is not None:
            log.notices += adopt(ShardStore.open(store, create=True), present.bundle)
        (present.bundle.root / MANIFEST_FILE).touch()  # make compares times
        return Emitted(present.bundle, True)
    with write_bundle(destination, force=force) as writer:
        _copy(given, writer)
        sources = {
            name: PlanSource(given.path_of(given.manifest.engines[name].source).read_bytes(), build, anew.seconds)
            for name, build in builds.items()
        }
        with log.stage("emit", f"plans for {maker.name}") as tell:
            plans = maker.plans(sources, writer.root, tell)
        log.notices += plans.notices
        engines = {
            name: with_plan(
                name, entry.model_copy(update={"kind": maker.kind, "target": maker.name}), plans.engines[name], writer
            )
            for name, entry in given.manifest.engines.items()
        }
        manifest = given.manifest.model_copy(
            update={
                "engines": engines,
                "tools": {**given.manifest.tools, **maker.builder_tools()},
                "files": writer.inventory(),
            }
        )
        manifest = _verified(Bundle(writer.root, manifest), log)
        require_status(manifest, require)
        sizes = engine_sizes(writer.root, manifest, _counted(given))
        log.notices += plan_notices(sizes)
        report = _report(given, sizes, key, log)
        if store is None:
            return Emitted(writer.commit(manifest, report), False)
        bundle, notices = commit_in(ShardStore.open(store, create=True), writer, manifest, report)
        log.notices += notices
        return Emitted(bundle, False)


def _maker(target: str, anew: Anew) -> PlanMaker[Any]:
    """The target, which makes plans here. Raises UsageError with every flag that means nothing to it."""
    found = find_target(target)
    if not isinstance(found, PlanMaker):
        makers = ", ".join(name for name, each in all_targets().items() if isinstance(each, PlanMaker))
        raise UsageError.of("options", f"--target {target}", "makes no plans of sources", f"those that do: {makers}")
    problems = unknown_to(anew.neuron, anew.seconds, found)
    if anew.capabilities and not found.capabilities:
        problems.append(Problem("options", FLAG, f"target {found.name} builds for no GPU", "leave it out"))
    UsageError.raise_if(problems)
    available = found.builder()
    if not available.usable:
        raise TargetError.of("target", found.name, "is not usable on this machine", available.hint)
    return found


def _builds(manifest: Manifest, maker: PlanMaker[Any], anew: Anew) -> dict[str, Build]:
    """What the maker is told, by engine. Raises UsageError with every engine that this target can make no plan of."""
    builds, problems = dict[str, Build](), list[Problem]()
    for name, entry in manifest.engines.items():
        try:
            builds[name] = _build(name, entry, maker, anew)
        except UsageError as error:
            problems += error.problems
    UsageError.raise_if(dict.fromkeys(problems))  # the engines of a bundle were mostly compiled alike
    return builds


def _build(name: str, entry: EngineEntry, maker: PlanMaker[Any], anew: Anew) -> Build:
    build = entry.build
    if isinstance(build, NeuronOptions) and maker.neuron_options:
        return neuron_options(anew.neuron, build)
    if isinstance(build, PlanBuild) and maker.builder_options:
        build = build.model_copy(update={"capabilities": anew.capabilities}) if anew.capabilities else build
        UsageError.raise_if(
            [
                *type_problems(f"engine {name}", build.dtypes, build.capabilities),
                *unknown_problems(build.capabilities, maker.capabilities),
                *builder_problems(build.options, maker),
            ]
        )
        return build
    whose = "no builder of plans" if build is None else "another one's builder"
    hint = f"compile the model with --target {maker.name}, which leaves such sources"
    raise UsageError.of("emit", f"engine {name}", f"is of the kind {entry.kind}, whose source is for {whose}", hint)


def _key(manifest: Manifest, maker: PlanMaker[Any], builds: Mapping[str, Build]) -> str:
    """A digest of everything that decides what is made. The GPU that is here does, and its builder's version."""
    return sha256_bytes(
        canonical_json(
            {
                "from": manifest.digest,
                "target": maker.name,
                "builds": {name: build.model_dump(mode="json") for name, build in builds.items()},
                "tools": dict(maker.builder_tools()),
                "gpu": gpu_capability(),
                "unspool": own_digest(),
            }
        )
    )


def _copy(given: Bundle, writer: BundleWriter) -> None:
    """Everything that is not of a plan."""
    plans = {path for name, entry in given.manifest.engines.items() for path in (entry.plan, layers_path(name))}
    for path in given.manifest.files:
        if path not in plans:
            writer.copy(path, _blocks(given.path_of(path)))


def _blocks(path: Path) -> Iterator[memoryview]:
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield memoryview(block)


def _verified(bundle: Bundle, log: BuildLog) -> Manifest:
    """The manifest after the plans that can run here answered the samples that the bundle carries, and were timed.

    Raises NumericsError if one does not agree with the source model.
    """
    manifest = bundle.manifest
    running = {name for name, entry in manifest.engines.items() if can_run(entry)}
    if not running:
        return manifest
    tolerances = Tolerances.recorded(manifest.numerics.tolerances, manifest.numerics.exact_tokens)
    samples = {name: stored_samples(bundle, name) for name in manifest.models}
    with log.stage("verify", "plans against the source's answers"):
        checks = check_bundle(bundle, samples, tolerances)
    log.record(checks, "engine")
    require_equal(checks, "verify", "the plan")
    for name, model in manifest.models.items():
        way = manifest.engines[model.held[0][model.schedule.main][0]].weights.default
        with log.stage("time", name):
            (cost,) = weight_costs(bundle, name, (way,), [sample.inputs for sample in samples[name]])
        log.weight_costs.append(cost)
        log.notices.append(f"{name}: answers its {len(samples[name])} samples in {cost.milliseconds:.2f} ms")
    verdicts = {
        name: (*found[:-1], Verdict(compared="engines", passed=True))
        for name, found in manifest.numerics.verdicts.items()
    }
    return manifest.model_copy(
        update={
            "engines": {
                name: entry.model_copy(update={"status": "verified", "needs": ()}) if name in running else entry
                for name, entry in manifest.engines.items()
            },
            "numerics": manifest.numerics.model_copy(update={"verdicts": verdicts}),
        }
    )


def _counted(given: Bundle) -> dict[str, int | None]:
    """The instructions of the engines' sources, which are the same as before."""
    report = given.report()
    return {} if report is None else {size.name: size.instructions for size in report.engines}


def _report(given: Bundle, sizes: tuple[EngineSize, ...], key: str, log: BuildLog) -> BuildReport | None:
    """How the model was compiled, and after that how its plans were made."""
    before = given.report()
    if before is None:
        return None
    return before.model_copy(
        update={
            "key": key,
            "started": log.started.isoformat(timespec="seconds"),
            "seconds": (datetime.now(UTC) - log.started).total_seconds(),
            "machine": this_machine(),
            "stages": (*before.stages, *log.times),
            "engines": sizes,
            "weight_costs": tuple(log.weight_costs),
            "notices": (*before.notices, *log.notices),
        }
    )
