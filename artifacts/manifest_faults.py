"""What of a manifest's parts does not agree, each part by itself being whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from artifacts.schedule import Decode, Partitioned, Schedule

if TYPE_CHECKING:
    from artifacts.manifest import Buckets, Functions, Manifest, ModelEntry


def manifest_faults(manifest: Manifest, unlisted: Iterable[str]) -> Iterator[str]:
    """A sentence for each fault; `unlisted` are files that its table of files leaves out."""
    yield from (f"files lists {path}" for path in unlisted if path in manifest.files)
    yield from _file_faults(manifest)
    yield from _model_faults(manifest)
    yield from _setting_faults(manifest)


def _file_faults(manifest: Manifest) -> Iterator[str]:
    for path in manifest.files:
        for folder in _folders(path):
            if folder in manifest.files:
                yield f"{folder} is both a file and a folder"
    for name, engine in manifest.engines.items():
        yield from _missing(manifest, f"engine {name!r}", (engine.source, engine.plan))
    for name, model in manifest.models.items():
        yield from _missing(manifest, f"model {name!r}", [path for sample in model.samples for path in sample.paths])
    if manifest.weights.layout == "inline" and manifest.weights.shards:
        yield "inline weights have no shards"
    for shard in manifest.weights.shards:
        listed = manifest.files.get(shard.path)
        if listed is None or (listed.sha256, listed.bytes) != (shard.sha256, shard.bytes):
            yield f"shard {shard.path} is not in files with this digest and size"


def _model_faults(manifest: Manifest) -> Iterator[str]:
    for name, model in manifest.models.items():
        for functions in model.held:
            yield from _function_faults(manifest, name, model, functions)
        if model.buckets is not None:
            yield from _bucket_faults(manifest, name, model, model.buckets)
    for name in manifest.numerics.verdicts:
        if name not in manifest.models:
            yield f"there is a verdict on the unknown model {name!r}"


def _setting_faults(manifest: Manifest) -> Iterator[str]:
    declared = {} if manifest.serving is None else manifest.serving.settings
    for name, value in manifest.settings.items():
        if name not in declared:
            yield f"settings has {name!r}, an environment variable that its engines do not declare"
        elif value != declared[name]:
            yield f"settings has {name} = {value!r}, and serving says {declared[name]!r}"
    for name in declared.keys() - manifest.settings.keys():
        yield f"settings lacks {name}, which serving declares"


def _function_faults(manifest: Manifest, name: str, model: ModelEntry, functions: Functions) -> Iterator[str]:
    for function, engines in functions.items():
        for engine in engines:
            if engine not in manifest.engines:
                yield f"model {name!r}: function {function!r} is in the unknown engine {engine!r}"
    for function in model.schedule.functions:
        if function not in functions:
            yield f"model {name!r}: the schedule calls {function!r}, which no engine holds"
    wanted = _partitions(model.schedule)
    found = len(functions.get(model.schedule.main, ()))
    if found not in (0, wanted):
        yield f"model {name!r}: the schedule has {wanted} partitions, {found} engines hold its step"


def _bucket_faults(manifest: Manifest, name: str, model: ModelEntry, buckets: Buckets) -> Iterator[str]:
    inputs = {spec.name for spec in model.signature.inputs}
    for symbol in sorted(buckets.each[0].sizes.keys() - set(model.signature.symbols)):
        yield f"model {name!r}: buckets have a size of {symbol!r}, which no input has"
    for filled in sorted(buckets.padding.fill.keys() - inputs):
        yield f"model {name!r}: {filled!r} is filled and no input"
    for bucket in buckets.each:
        wanted = {spec.name: spec for spec in model.at(bucket).signature.inputs}
        engines = {engine for names in bucket.functions.values() for engine in names}
        for engine in sorted(engines & manifest.engines.keys()):
            for spec in manifest.engines[engine].signature.inputs:
                shape = wanted[spec.name].shape if spec.name in wanted else spec.shape
                if spec.shape != shape and all(isinstance(dim, int) for dim in shape):
                    yield f"model {name!r}: engine {engine!r} takes {spec}, its bucket says {list(shape)}"


def _partitions(schedule: Schedule) -> int:
    """Number of engines that hold the step of a schedule."""
    control = schedule.control if isinstance(schedule, Decode) else None
    return len(control.boundaries) if isinstance(control, Partitioned) else 1


def _missing(manifest: Manifest, subject: str, paths: Iterable[str | None]) -> Iterator[str]:
    for path in paths:
        if path is not None and path not in manifest.files:
            yield f"{subject} refers to {path}, which files does not list"


def _folders(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])
