"""What padding did to the answers of a model that has buckets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from artifacts.checks import OutputCheck
from artifacts.manifest import Bucket, Manifest
from artifacts.padding import sizes_of
from artifacts.runtime.buckets import told
from artifacts.samples import Sample
from artifacts.verification import is_padded

Samples = Mapping[str, Sequence[Sample]]


def is_padded_check(manifest: Manifest, samples: Samples, check: OutputCheck) -> bool:
    """Whether a check is of a request that was smaller than its bucket."""
    entry, sample = manifest.models[check.model], samples[check.model][check.sample]
    bucket = _bucket(manifest, check.model, sample)
    return bucket is not None and is_padded(entry, bucket, sample)


def _bucket(manifest: Manifest, model: str, sample: Sample) -> Bucket | None:
    entry = manifest.models[model]
    place = None if entry.buckets is None else entry.buckets.place_of(sizes_of(entry.signature.inputs, sample.inputs))
    return None if entry.buckets is None or place is None else entry.buckets.each[place]


def with_known_padding(manifest: Manifest, padded: Sequence[OutputCheck]) -> Manifest:
    """The manifest whose models say whether padding is exact, as it was seen to be in every padded request."""
    models = dict(manifest.models)
    for name, entry in models.items():
        own = [check for check in padded if check.model == name]
        if entry.buckets is None or not own:
            continue
        exact = all(check.comparison.passed for check in own)
        padding = entry.buckets.padding.model_copy(update={"exact": exact})
        models[name] = entry.model_copy(update={"buckets": entry.buckets.model_copy(update={"padding": padding})})
    return manifest.model_copy(update={"models": models})


def padding_notices(manifest: Manifest, samples: Samples, padded: Sequence[OutputCheck]) -> Iterator[str]:
    """For each model that padding does something to, what it is at worst; for the others how many requests showed it.

    The worst is of one output of one request: the one that is furthest beyond its tolerance.
    """
    for name in dict.fromkeys(check.model for check in padded):
        own = [check for check in padded if check.model == name]
        requests = len({check.sample for check in own})
        moved = [check for check in own if not check.comparison.passed]
        if not moved:
            furthest = max(check.comparison.max_abs for check in own)
            yield f"{name}: padding changed no answer, in {requests} requests; the largest difference is {furthest:.3g}"
            continue
        worst = max(moved, key=lambda check: check.comparison.required)
        sample = samples[name][worst.sample]
        bucket = _bucket(manifest, name, sample)
        assert bucket is not None
        sizes = sizes_of((s for s in manifest.models[name].signature.inputs), sample.inputs)
        request = told({symbol: sizes[symbol] for symbol in bucket.sizes})
        yield (
            f"{name}: PADDING CHANGES ITS ANSWERS, in {len({check.sample for check in moved})} of {requests} requests: "
            f"at worst {worst.output} of one of {request}, padded to {told(bucket.sizes)}: {worst.comparison}"
        )
