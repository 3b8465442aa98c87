from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.dtype import DType
from artifacts.errors import TargetError, UsageError
from artifacts.spec import Signature, TensorSpec
from compiler.shapes import ShapeRanges, Shapes
from compiler.tensorrt.profiles import Range, given_ranges, profile_of

SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="ids", dtype=DType.INT64, shape=("batch", "seq")),
        TensorSpec(name="mask", dtype=DType.INT64, shape=("batch", "seq")),
        TensorSpec(name="image", dtype=DType.FLOAT32, shape=("batch", 3, "width")),
        TensorSpec(name="scale", dtype=DType.FLOAT32, shape=()),
    ),
    outputs=(),
)


def ranges(least: Shapes = (), usual: Shapes = (), most: Shapes = ()) -> dict[str, Range]:
    return given_ranges(SIGNATURE, ShapeRanges(least, usual, most))


def test_sizes_of_one_input_are_those_of_its_symbols_everywhere() -> None:
    found = ranges((("ids", (1, 4)),), (("ids", (8, 16)),), (("ids", (32, 128)),))
    assert found == {"batch": Range(1, 8, 32), "seq": Range(4, 16, 128)}


def test_what_is_not_given_is_the_usual_size_or_the_nearest() -> None:
    assert ranges(usual=(("ids", (8, 16)),)) == {"batch": Range(8, 8, 8), "seq": Range(16, 16, 16)}
    assert ranges((("ids", (1, 4)),), (), (("ids", (8, 16)),))["batch"] == Range(1, 8, 8)
    assert ranges((("ids", (1, 4)),)) == {"batch": Range(1, 1, 1), "seq": Range(4, 4, 4)}


def test_contradictions_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        ranges((("ids", (9, 4)), ("mask", (9, 5))), (("ids", (8, 16)),), (("ids", (32, 8)),))
    messages = [problem.message for problem in caught.value.problems]
    assert messages[0] == "gives seq the sizes 4 and 5"
    assert messages[1:] == [
        "batch is at least 9, usually 8 and at most 32",
        "seq is at least 5, usually 16 and at most 8",
    ]


def test_every_symbol_without_sizes_is_named() -> None:
    with pytest.raises(TargetError) as caught:
        profile_of("model", SIGNATURE, {"batch": Range(1, 2, 3)})
    assert [problem.message.split(" of input")[0] for problem in caught.value.problems] == [
        "has no sizes for seq",
        "has no sizes for width",
    ]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 500), min_size=3, max_size=3), st.integers(0, 99))
def test_a_profile_has_the_sizes_in_their_places(sizes: list[int], more: int) -> None:
    least, usual, most = sorted(sizes)
    cache = TensorSpec(name="cache", dtype=DType.FLOAT32, shape=("batch", 4, f"past + {more}"))
    fixed = TensorSpec(name="fixed", dtype=DType.FLOAT32, shape=(1, 2))
    signature = Signature(inputs=(cache, fixed), outputs=())
    known = {"batch": Range(1, 1, 8), "past": Range(least, usual, most)}
    shapes = ((1, 4, least + more), (1, 4, usual + more), (8, 4, most + more))
    assert profile_of("model", signature, known) == {"cache": shapes}
