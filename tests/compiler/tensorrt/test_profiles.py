from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.dtype import DType
from artifacts.plan_build import Sizes
from artifacts.spec import Signature, TensorSpec
from compiler.shapes import Range
from compiler.tensorrt.profiles import profile_of, size_problems

SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="ids", dtype=DType.INT64, shape=("batch", "seq")),
        TensorSpec(name="mask", dtype=DType.INT64, shape=("batch", "seq")),
        TensorSpec(name="image", dtype=DType.FLOAT32, shape=("batch", 3, "width")),
        TensorSpec(name="scale", dtype=DType.FLOAT32, shape=()),
    ),
    outputs=(),
)


def test_every_symbol_without_sizes_is_named() -> None:
    problems = size_problems("engine model", SIGNATURE, {"batch": Range(1, 2, 3)})
    assert [problem.message.split(" of input")[0] for problem in problems] == [
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
    shapes = Sizes(least=(1, 4, least + more), usual=(1, 4, usual + more), most=(8, 4, most + more))
    assert not size_problems("engine model", signature, known)
    assert profile_of(signature, known) == {"cache": shapes}
