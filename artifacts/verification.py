"""Run the engines of a bundle on requests with known answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from artifacts.bundle import Bundle
from artifacts.checks import OutputCheck, Tolerances, check_decoded, check_outputs
from artifacts.engines import open_engine
from artifacts.manifest import Bucket, Buckets, ModelEntry
from artifacts.padding import sizes_of
from artifacts.runtime import Session
from artifacts.runtime.buckets import only, too_large
from artifacts.samples import Arrays, Sample
from artifacts.schedule import Decode, Host

Numbered = Sequence[tuple[int, Sample]]


def check_bundle(
    bundle: Bundle, samples: Mapping[str, Sequence[Sample]], tolerances: Tolerances
) -> tuple[OutputCheck, ...]:
    """Answer the samples of every model named with the bundle itself, and compare.

    A model that is called once is compared by its outputs. A decoding model is compared by the tokens that the
    session decodes and, where its step is the whole source model, by its outputs on given tokens as well.
    """
    return tuple(check for name, given in samples.items() for check in _check_model(bundle, name, given, tolerances))


def _check_model(bundle: Bundle, name: str, samples: Sequence[Sample], tolerances: Tolerances) -> Iterator[OutputCheck]:
    entry, numbered = bundle.manifest.models[name], tuple(enumerate(samples))
    if entry.buckets is not None:
        yield from _check_buckets(bundle, name, entry.buckets, numbered, tolerances)
        return
    if isinstance(entry.schedule, Decode):
        yield from _check_step(bundle, name, entry, entry.schedule, samples, tolerances)
    yield from _check_answers(bundle, name, numbered, tolerances)


def _check_answers(bundle: Bundle, name: str, numbered: Numbered, tolerances: Tolerances) -> Iterator[OutputCheck]:
    entry = bundle.manifest.models[name]
    if isinstance(entry.schedule, Decode):
        for number, sample in numbered:
            if sample.decoded:
                actual = _decode(bundle, name, entry.schedule, sample)
                yield from check_decoded(name, number, sample, actual, tolerances)
        return
    with Session.of(bundle, name) as session:
        for number, sample in numbered:
            actual = session.run(_callers(session, sample))
            yield from check_outputs(name, entry.signature, number, sample, actual, tolerances)


def _check_buckets(
    bundle: Bundle, name: str, buckets: Buckets, numbered: Numbered, tolerances: Tolerances
) -> Iterator[OutputCheck]:
    """Compare bucket by bucket, with the engines of one at a time.

    What is as large as its bucket has to agree; what is padded has to where the bundle says that padding is exact.
    Raises RunError for a sample that no bucket holds.
    """
    entry = bundle.manifest.models[name]
    held: dict[int, list[tuple[int, Sample]]] = {}
    for number, sample in numbered:
        sizes = sizes_of(entry.signature.inputs, sample.inputs)
        place = buckets.place_of(sizes)
        if place is None:
            raise too_large(buckets, sizes)
        held.setdefault(place, []).append((number, sample))
    for place, given in sorted(held.items()):
        bucket = buckets.each[place]
        required = {number for number, s in given if buckets.padding.exact or not is_padded(entry, bucket, s)}
        for check in _check_answers(with_model(bundle, name, only(entry, bucket)), name, given, tolerances):
            yield replace(check, required=check.required and check.sample in required)


def is_padded(entry: ModelEntry, bucket: Bucket, sample: Sample) -> bool:
    """Whether a sample is smaller than the bucket that it goes to."""
    sizes = sizes_of(entry.signature.inputs, sample.inputs)
    return any(sizes.get(symbol, size) != size for symbol, size in bucket.sizes.items())


def _check_step(
    bundle: Bundle,
    name: str,
    entry: ModelEntry,
    schedule: Decode,
    samples: Sequence[Sample],
    tolerances: Tolerances,
) -> Iterator[OutputCheck]:
    engine = bundle.manifest.engines[entry.functions[schedule.step][0]]
    inputs = engine.signature.inputs
    foreign = {spec.name for spec in inputs} - {spec.name for spec in entry.signature.inputs}
    if foreign or engine.signature.outputs != entry.signature.outputs:
        return
    runner = open_engine(bundle.root, engine)
    for number, sample in enumerate(samples):
        actual = runner.call({spec.name: np.ascontiguousarray(sample.inputs[spec.name]) for spec in inputs})
        yield from check_outputs(name, entry.signature, number, sample, actual, tolerances)
    runner.close()


def _decode(bundle: Bundle, name: str, schedule: Decode, sample: Sample) -> Arrays:
    """As many tokens of the session's as the sample holds: asked for where the host loops, else cut off."""
    limit = sample.decoded["tokens"].shape[1]
    if isinstance(schedule.control, Host):
        bundle = _shortened(bundle, name, schedule, limit)
    with Session.of(bundle, name, beams=1) as session:  # the sample's tokens were chosen greedily
        results = session.run(_callers(session, sample))
    return {"tokens": results["tokens"][:, :limit], "lengths": np.minimum(results["lengths"], limit)}


def _shortened(bundle: Bundle, name: str, schedule: Decode, limit: int) -> Bundle:
    """The bundle with a model that decodes at most `limit` tokens: as many as the sample holds."""
    entry = bundle.manifest.models[name].model_copy(update={"schedule": schedule.shortened(limit)})
    return with_model(bundle, name, entry)


def with_model(bundle: Bundle, name: str, entry: ModelEntry) -> Bundle:
    """The bundle with another entry for a model."""
    models = {**bundle.manifest.models, name: entry}
    return Bundle(bundle.root, bundle.manifest.model_copy(update={"models": models}))


def _callers(session: Session, sample: Sample) -> Arrays:
    return {spec.name: sample.inputs[spec.name] for spec in session.signature.inputs}
