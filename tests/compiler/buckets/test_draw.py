from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.dtype import DType
from artifacts.errors import RunError, SourceError, UsageError
from artifacts.padding import sizes_of
from artifacts.samples import Sample
from artifacts.schedule import Single
from artifacts.spec import Signature
from compiler.buckets.draw import Drawn, drawn_buckets, filled, with_buckets
from compiler.options import PaddingName
from passes.onnx_to_torch.input_hints import InputHint
from passes.program import Model
from tests.support.bundles import spec

IDS, MASK = spec("ids", DType.INT64, "batch", "seq"), spec("mask", DType.INT64, "batch", "seq")
HINTS = {"ids": InputHint(table=30), "mask": InputHint()}


def answered(sizes: Mapping[str, int]) -> Sample:
    shape = (sizes.get("batch", 2), sizes["seq"])
    if sizes["seq"] % 2 and sizes["seq"] > 9:
        raise RunError.of("samples", "m", "takes even sizes")
    return Sample({"ids": np.zeros(shape, np.int64), "mask": np.ones(shape, np.int64)}, {})


SIZES = st.lists(st.tuples(st.integers(1, 5), st.sampled_from([2, 4, 8, 16])), min_size=1, max_size=4, unique=True)


@given(SIZES)
def test_every_request_goes_to_a_bucket_and_is_smaller(sizes: list[tuple[int, int]]) -> None:
    each = [{"batch": batch, "seq": seq} for batch, seq in sizes]
    drawn = drawn_buckets([IDS], each, answered)
    found = [sizes_of([IDS], sample.inputs) for sample in drawn.each]
    assert sorted(map(str, found)) == sorted(map(str, each))
    costs = [np.prod(list(size.values())) for size in found]
    assert costs == sorted(costs)
    assert all(sizes_of([IDS], sample.inputs) not in found for sample in drawn.requests)
    for sample in drawn.requests:
        assert any(all(size <= other[s] for s, size in sizes_of([IDS], sample.inputs).items()) for other in found)


def test_several_sizes_are_tried_in_each_bucket() -> None:
    drawn = drawn_buckets([IDS], [{"batch": 1, "seq": 4}, {"batch": 1, "seq": 32}], answered)
    assert [sample.inputs["ids"].shape for sample in drawn.requests] == [(1, 3), (1, 2), (1, 1), (1, 18), (1, 5)]
    assert drawn.untried == ()


def test_a_bucket_in_which_no_padding_was_tried_is_told() -> None:
    drawn = drawn_buckets([IDS], [{"batch": 2, "seq": 10}, {"batch": 2, "seq": 12}], answered)
    (told,) = drawn.notices
    assert told.startswith("what padding does in the bucket for batch 2, seq 12 was not tried")


def test_a_bucket_is_given_once() -> None:
    with pytest.raises(UsageError, match="gives the bucket for batch 2, seq 4 twice"):
        drawn_buckets([IDS], [{"batch": 2, "seq": 4}, {"seq": 4}], answered)


NOTHING = Drawn((), (), {}, True)


@pytest.mark.parametrize(
    ("pad", "filling"), [(None, {"ids": 0, "mask": 0}), (7, {"ids": 7, "mask": 0}), (30, {"ids": 0, "mask": 0})]
)
def test_tokens_are_filled_with_the_pad_token(pad: int | None, filling: dict[str, int]) -> None:
    found = filled(NOTHING, [IDS, MASK], HINTS, pad, PaddingName.AUTO)
    assert found.fill == filling
    assert found.exact


@pytest.mark.parametrize("named", PaddingName)
def test_a_model_without_a_mask_need_not_answer_exactly(named: PaddingName) -> None:
    assert filled(NOTHING, [IDS], HINTS, None, named).exact is (named is PaddingName.EXACT)
    assert filled(NOTHING, [IDS, MASK], HINTS, None, named).exact is (named is not PaddingName.MEASURED)


ROWS = spec("y", DType.FLOAT32, "batch", 3)
COUNTED = spec("each", DType.FLOAT32, "seq")


@pytest.mark.parametrize(
    ("inputs", "outputs", "rows"),
    [
        ((IDS, MASK), (ROWS,), "batch"),
        ((IDS,), (ROWS, spec("loss", DType.FLOAT32)), "batch"),
        ((IDS,), (ROWS, COUNTED), None),
        ((IDS,), (COUNTED,), None),
        ((IDS,), (spec("y", DType.FLOAT32, "batch", "batch"),), None),
        ((IDS,), (spec("y", DType.FLOAT32, 4),), None),
        ((IDS,), (), None),
    ],
)
def test_rows_are_what_comes_first_everywhere(
    inputs: tuple[object, ...], outputs: tuple[object, ...], rows: str | None
) -> None:
    signature = Signature.model_validate({"inputs": inputs, "outputs": outputs})
    drawn = drawn_buckets([IDS], [{"batch": 2, "seq": 4}], answered)
    model = with_buckets(Model(signature, Single(function="f"), "0" * 64), ["ids"], drawn)
    assert model.buckets is not None
    assert model.buckets.padding.rows == rows
    assert [bucket.sizes for bucket in model.buckets.each] == [{"batch": 2, "seq": 4}]


def test_a_size_that_the_graph_is_tied_to_has_no_buckets() -> None:
    tied = Signature(inputs=(spec("ids", DType.INT64, "batch", 4),), outputs=(ROWS,))
    drawn = drawn_buckets([IDS], [{"batch": 2, "seq": seq} for seq in (4, 8)], answered)
    with pytest.raises(SourceError, match="tied to 4 by the graph at axis 1, and a bucket has 8"):
        with_buckets(Model(tied, Single(function="f"), "0" * 64), ["ids"], drawn)


def test_sizes_differ_in_each_request() -> None:
    drawn = drawn_buckets([IDS], [{"batch": 4, "seq": 8}], answered)
    shapes = [sample.inputs["ids"].shape for sample in drawn.requests]
    assert shapes == [(3, 7), (2, 4), (1, 1)]
    assert all(a != b for a, b in itertools.combinations(shapes, 2))
