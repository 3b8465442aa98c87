from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compiler.tuning.cuts import Floats, cheapest_cuts

PLACES = 7
COSTS = arrays(np.float64, (PLACES, PLACES), elements=st.sampled_from([0.0, 0.5, 1, 3, 20]))


def cost_of(spent: Floats, begin: int, ends: tuple[int, ...]) -> float:
    return float(sum(spent[a, b] for a, b in itertools.pairwise((begin, *ends))))


@given(COSTS, st.integers(0, PLACES - 2), st.integers(1, PLACES + 2))
def test_no_cuts_cost_less_and_none_as_little_with_fewer_parts(spent: Floats, begin: int, most: int) -> None:
    last = PLACES - 1
    found = cheapest_cuts(spent, begin, most)
    assert found[-1] == last
    assert len(found) <= most
    assert all(a < b for a, b in itertools.pairwise((begin, *found)))
    inner = range(begin + 1, last)
    every = [(*cut, last) for count in range(most) for cut in itertools.combinations(inner, count)]
    least = min(cost_of(spent, begin, cut) for cut in every)
    assert cost_of(spent, begin, found) == pytest.approx(least)
    assert all(cost_of(spent, begin, cut) > least + 1e-9 for cut in every if len(cut) < len(found))
