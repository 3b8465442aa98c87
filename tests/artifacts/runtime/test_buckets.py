"""Requests of many sizes that are answered by plans of a few, each of which notes what it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from artifacts.dtype import DType
from artifacts.errors import BundleError, RunError
from artifacts.manifest import Bucket, Buckets, ModelEntry
from artifacts.padding import Padding
from artifacts.runtime.answer import Answer
from artifacts.runtime.buckets import BucketPlan
from artifacts.schedule import Single
from artifacts.spec import Signature
from tests.support.bundles import spec
from tests.support.decoders import decoder

SIGNATURE = Signature(
    inputs=(spec("ids", DType.INT64, "batch", "seq"),),
    outputs=(spec("y", DType.INT64, "batch", "seq"), spec("total", DType.INT64, "batch")),
)
SIZES = ((1, 4), (4, 4), (1, 32))


class Summing:
    """y = ids + 1, total = their sum."""

    def __init__(self, shape: tuple[int, int], name: str = "ids") -> None:
        self.signature = Signature(inputs=(spec(name, DType.INT64, *shape),), outputs=SIGNATURE.outputs)
        self.given: list[np.ndarray] = []

    def run(self, arrays: dict[str, np.ndarray]) -> Answer:
        (ids,) = arrays.values()
        assert ids.shape == self.signature.inputs[0].shape
        self.given.append(ids)
        return Answer({"y": ids + 1, "total": ids.sum(1)}, {"f": 1})


def bucket(batch: int, seq: int) -> Bucket:
    return Bucket(sizes={"batch": batch, "seq": seq}, functions={"f": (f"m@{batch}x{seq}",)})


def entry(*sizes: tuple[int, int], rows: str | None = "batch") -> ModelEntry:
    buckets = Buckets(each=tuple(bucket(*each) for each in sizes), padding=Padding(rows=rows, exact=True))
    return ModelEntry(source="0" * 64, signature=SIGNATURE, schedule=Single(function="f"), buckets=buckets)


def planned(*sizes: tuple[int, int]) -> tuple[BucketPlan, list[Summing]]:
    model, plans = entry(*sizes), [Summing(each) for each in sizes]
    assert model.buckets is not None
    return BucketPlan(model, model.buckets, plans), plans


@pytest.mark.parametrize(
    ("shape", "place"),
    [((1, 1), 0), ((1, 4), 0), ((2, 1), 1), ((4, 4), 1), ((1, 5), 2), ((1, 32), 2), ((0, 3), 0)],
)
def test_a_request_goes_to_the_first_bucket_that_holds_it(shape: tuple[int, int], place: int) -> None:
    plan, plans = planned(*SIZES)
    ids = np.arange(shape[0] * shape[1]).reshape(shape) + 1
    answer = plan.run({"ids": ids})
    assert [len(each.given) for each in plans] == [number == place for number in range(3)]
    np.testing.assert_array_equal(answer.outputs["y"], ids + 1)
    np.testing.assert_array_equal(answer.outputs["total"], ids.sum(1))
    assert answer.calls == {"f": 1}


def test_a_request_that_none_holds_is_one_error_that_names_the_largest() -> None:
    plan, _ = planned(*SIZES)
    for shape in ((1, 33), (5, 1), (4, 5)):
        with pytest.raises(RunError) as caught:
            plan.run({"ids": np.zeros(shape, np.int64)})
        (problem,) = caught.value.problems
        assert problem.subject == f"batch {shape[0]}, seq {shape[1]}"
        assert "the largest is for batch 1, seq 32" in problem.message


def test_it_says_how_many_rows_go_at_once() -> None:
    plan, _ = planned(*SIZES)
    most = [plan.most_rows({"ids": np.zeros((9, seq), np.int64)}) for seq in (3, 20, 40)]
    assert most == [4, 1, None]


def test_the_signature_is_the_models() -> None:
    assert planned(*SIZES)[0].signature == SIGNATURE


def test_buckets_that_take_unlike_inputs_are_refused() -> None:
    model = entry((1, 4), (1, 8))
    assert model.buckets is not None
    with pytest.raises(BundleError, match="take unlike inputs"):
        BucketPlan(model, model.buckets, [Summing((1, 4)), Summing((1, 8), "other")])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (((1, 8), (1, 4)), "bucket 1 is never chosen"),
        (((1, 8), (1, 8)), "bucket 1 is never chosen"),
        (((2, 4), (1, 8), (2, 8), (1, 6)), "bucket 3 is never chosen"),
    ],
)
def test_a_bucket_that_is_never_chosen_is_refused(sizes: tuple[tuple[int, int], ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        entry(*sizes)


def test_rows_are_counted_by_a_size_of_the_buckets() -> None:
    with pytest.raises(ValidationError, match="rows are counted by 'hidden'"):
        entry((1, 4), rows="hidden")


def test_buckets_of_unlike_symbols_are_refused() -> None:
    unlike = Bucket(sizes={"batch": 9}, functions={"f": ("m@9",)})
    with pytest.raises(ValidationError, match="unlike symbols"):
        Buckets(each=(bucket(1, 4), unlike), padding=Padding(exact=True))


@pytest.mark.parametrize("engines", [{}, {"functions": {"f": ("m",)}, "buckets": entry((1, 4)).buckets}])
def test_engines_are_in_functions_or_in_buckets(engines: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError, match="either functions or buckets"):
        ModelEntry(source="0" * 64, signature=SIGNATURE, schedule=Single(function="f"), **engines)


def test_of_a_decode_the_rows_are_cut_and_then_the_tokens_that_they_do_not_need() -> None:
    source = decoder("padded")
    tokens = np.array([[3, 2, 0], [4, 4, 2], [4, 4, 2]])

    class Decoding:
        signature = Signature(
            inputs=(spec("x", DType.FLOAT32, 3, 4),),
            outputs=(spec("tokens", DType.INT64, 3, "generated"), spec("lengths", DType.INT64, 3)),
        )

        def run(self, arrays: dict[str, np.ndarray]) -> Answer:
            assert arrays["x"].shape == (3, 4)
            return Answer({"tokens": tokens, "lengths": np.array([2, 3, 3])}, {})

    held = Bucket(sizes={"batch": 3}, functions={"step": ("toy@3.step",), "encoder": ("toy@3.encoder",)})
    buckets = Buckets(each=(held,), padding=Padding(rows="batch", exact=True))
    model = ModelEntry(source="0" * 64, signature=source.signature, schedule=source.schedule, buckets=buckets)
    plan = BucketPlan(model, buckets, [Decoding()])
    assert [spec.shape for spec in plan.signature.outputs] == [("batch", "generated"), ("batch",)]
    answer = plan.run({"x": np.ones((1, 4), np.float32)})
    assert answer.outputs["tokens"].tolist() == [[3, 2]]
    assert answer.outputs["lengths"].tolist() == [2]
