"""Hold a decoder's step with a cache to the decoder itself: two files of one model have to agree.

The cache that a bundle uses is derived from the decoder that has none. The other file is no source of anything,
but if it says something else then one of the two is not the model that was meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from artifacts.checks import Tolerances
from artifacts.dtype import DType
from artifacts.errors import SourceError
from artifacts.samples import Sample
from artifacts.spec import Signature
from artifacts.tolerances import compare
from compiler.options import ModelFile
from compiler.parts.joins import CACHE_BRANCH, PAST, STAGE, Joins
from compiler.parts.opening import joins_of
from compiler.parts.reading import read_model
from compiler.source_runner import SourceRunner

Array = npt.NDArray[np.generic]


def check_with_past(model: ModelFile, samples: Sequence[Sample], tolerances: Tolerances) -> None:
    """Step a model's decoder with past over the samples' tokens; a model that has none passes.

    Raises SourceError if its scores are not those of the samples, or if its inputs are not what the decoder gives.
    """
    if model.parts is None or model.parts.decoder_with_past is None:
        return
    joins, decoder = joins_of(read_model(model))
    encoder, first, step = (
        SourceRunner(path) for path in (model.parts.encoder, model.path, model.parts.decoder_with_past)
    )
    for sample in samples:
        encoded = encoder.run({name: sample.inputs[name] for name in encoder.input_names})
        given = {
            **{name: encoded[output] for name, output in joins.fed.items()},
            **{name: sample.inputs[source] for name, source in joins.shared.items()},
            **{name: sample.inputs[source] for name, source in joins.own.items()},
        }
        _check_steps(joins, decoder, first, step, given, sample.outputs[joins.logits], tolerances)


def _check_steps(
    joins: Joins,
    decoder: Signature,
    first: SourceRunner,
    step: SourceRunner,
    given: Mapping[str, Array],
    expected: Array,
    tolerances: Tolerances,
) -> None:
    tokens = given[joins.tokens]
    tolerance = tolerances.for_dtype(DType.of(expected.dtype))
    results = first.run({**_no_cache(decoder, len(tokens)), **given, joins.tokens: tokens[:, :1]})
    cache: dict[str, Array] = {}
    for position in range(1, tokens.shape[1]):
        # What a step does not give back, the keys and values of the encoder say, stays as it was.
        cache |= {_stem(name): array for name, array in results.items() if PAST.match(name)}
        inputs = {name: cache.get(_stem(name)) if PAST.match(name) else given.get(name) for name in step.input_names}
        missing = [name for name, array in inputs.items() if array is None]
        if missing:
            message = f"takes {', '.join(missing)}, which the decoder {first.path.name} does not give"
            raise SourceError.of(STAGE, step.path.name, message, _HINT)
        found = {name: array for name, array in inputs.items() if array is not None}
        results = step.run({**found, joins.tokens: tokens[:, position : position + 1]})
        if joins.logits not in results:
            raise SourceError.of(STAGE, step.path.name, f"gives no {joins.logits}", _HINT)
        comparison = compare(expected[:, position], results[joins.logits][:, -1], tolerance)
        if not comparison.passed:
            message = f"at position {position} its scores are not those of {first.path.name}: {comparison}"
            raise SourceError.of(STAGE, step.path.name, message, _HINT)


_HINT = "are both files of one model? leave this one out to compile without the comparison"


def _no_cache(decoder: Signature, batch: int) -> dict[str, Array]:
    """What a merged decoder wants where there is no cache yet: empty ones, and to be told so."""
    return {
        spec.name: np.zeros(
            [size if isinstance(size, int) else batch * (axis == 0) for axis, size in enumerate(spec.shape)],
            spec.dtype.numpy,
        )
        for spec in decoder.inputs
        if spec.name == CACHE_BRANCH or PAST.match(spec.name)
    }


def _stem(name: str) -> str:
    return re.sub(r"^(past|present)(_key_values)?[._]?", "", name)
