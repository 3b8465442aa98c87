"""The runner itself is tried in tests/compiler/tensorrt/test_on_a_gpu.py, with bundles that are compiled for it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.plan_build import Profile, Sizes
from artifacts.tensorrt_runner import profile_for

SHAPE = st.tuples(st.integers(0, 9), st.integers(0, 9))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(SHAPE, SHAPE), min_size=1, max_size=4), SHAPE)
def test_the_first_profile_that_has_the_sizes_is_chosen(
    ranges: list[tuple[tuple[int, int], tuple[int, int]]], shape: tuple[int, int]
) -> None:
    profiles: list[Profile] = []
    for one, other in ranges:
        least = (min(one[0], other[0]), min(one[1], other[1]))
        most = (max(one[0], other[0]), max(one[1], other[1]))
        profiles.append({"x": Sizes(least=least, usual=most, most=most)})
    fits = [all(a <= b <= c for a, b, c in zip(p["x"].least, shape, p["x"].most, strict=True)) for p in profiles]
    assert profile_for(profiles, {"x": shape}) == (fits.index(True) if any(fits) else None)
    assert profile_for(profiles, {"x": (*shape, 1)}) is None
