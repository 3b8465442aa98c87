"""Requests of many sizes, answered by engines of a few: padded to the cheapest bucket that holds them, and cut back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy.typing as npt

from artifacts.errors import BundleError, RunError
from artifacts.manifest import Bucket, Buckets, ModelEntry
from artifacts.padding import cropped, padded, sizes_of
from artifacts.runtime.answer import Answer
from artifacts.schedule import Decode
from artifacts.spec import Signature, TensorSpec

Array = npt.NDArray[Any]


class Plan(Protocol):
    """What answers a request of the sizes of its signature."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""

    def run(self, arrays: dict[str, Array]) -> Answer:
        """Answer checked inputs."""


class BucketPlan:
    """Answers requests of any sizes that one of a model's buckets holds."""

    def __init__(self, model: ModelEntry, buckets: Buckets, plans: Sequence[Plan]) -> None:
        """`plans` are those of the buckets, in their order. Raises BundleError if one takes what the others do not."""
        self._buckets = buckets
        self._plans = tuple(plans)
        self._decodes = isinstance(model.schedule, Decode)
        taken = [spec.name for spec in plans[0].signature.inputs]
        named = {spec.name: spec for spec in model.signature.inputs}
        if any([spec.name for spec in plan.signature.inputs] != taken for plan in plans) or set(taken) - set(named):
            message = "has buckets whose engines take unlike inputs, or some that the source model does not have"
            raise BundleError.of("session", model.schedule.main, message)
        outputs = plans[0].signature.outputs if self._decodes else model.signature.outputs
        rows = buckets.padding.rows
        if self._decodes and rows is not None:
            outputs = tuple(_by_rows(spec, rows) for spec in outputs)
        self.signature = Signature(inputs=tuple(named[name] for name in taken), outputs=outputs)

    def run(self, arrays: dict[str, Array]) -> Answer:
        """Answer checked inputs. Raises RunError if no bucket holds them."""
        sizes = sizes_of(self.signature.inputs, arrays)
        place = self._buckets.place_of(sizes)
        if place is None:
            raise too_large(self._buckets, sizes)
        bucket = self._buckets.each[place]
        answer = self._plans[place].run(padded(self.signature.inputs, arrays, bucket.sizes, self._buckets.padding))
        outputs = cropped(self.signature.outputs, answer.outputs, sizes)
        if self._decodes:
            outputs["tokens"] = outputs["tokens"][:, : int(outputs["lengths"].max(initial=0))]
        return replace(answer, outputs=outputs)

    def most_rows(self, arrays: Mapping[str, Array]) -> int | None:
        """How many rows of a request a bucket holds at most; None where nothing counts rows, or none holds even one."""
        rows = self._buckets.padding.rows
        one = sizes_of(self.signature.inputs, arrays) | {str(rows): 1}
        return max((bucket.sizes[rows] for bucket in self._buckets.each if rows and bucket.holds(one)), default=None)


def too_large(buckets: Buckets, sizes: Mapping[str, int]) -> RunError:
    """What to say of a request that no bucket holds."""
    largest = max(buckets.each, key=lambda bucket: math.prod(bucket.sizes.values()))
    known = {symbol: size for symbol, size in sizes.items() if symbol in largest.sizes}
    message = f"no bucket holds a request of this size; the largest is for {told(largest.sizes)}"
    hint = "cut the request, or compile with a larger bucket: --opt-shapes"
    return RunError.of("inputs", told(known), message, hint)


def told(sizes: Mapping[str, int]) -> str:
    """Sizes by symbol, as text."""
    return ", ".join(f"{symbol} {size}" for symbol, size in sizes.items())


def _by_rows(spec: TensorSpec, rows: str) -> TensorSpec:
    """An output of a decode, [rows] or [rows, tokens], of any number of rows."""
    return spec.model_copy(update={"shape": (rows, *("generated" for _ in spec.shape[1:]))})


def only(model: ModelEntry, bucket: Bucket) -> ModelEntry:
    """The model with one of its buckets."""
    assert model.buckets is not None
    return model.model_copy(update={"buckets": model.buckets.model_copy(update={"each": (bucket,)})})
