from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.cores import cores_text, parse_cores, shares

CORES = st.sets(st.integers(0, 4095), min_size=1, max_size=20).map(lambda found: tuple(sorted(found)))


@given(CORES)
def test_cores_survive_being_written(cores: tuple[int, ...]) -> None:
    assert parse_cores(cores_text(cores)) == cores


@pytest.mark.parametrize(
    ("text", "cores", "written"),
    [("0", (0,), "0"), ("0-3", (0, 1, 2, 3), "0-3"), ("2,0", (0, 2), "0,2"), ("0-2,8", (0, 1, 2, 8), "0,1,2,8")],
)
def test_numbers_and_ranges_go_together(text: str, cores: tuple[int, ...], written: str) -> None:
    assert parse_cores(text) == cores
    assert cores_text(cores) == written


@pytest.mark.parametrize("text", ["", "a", "0,", "-1", "3-1", "0,0-2", "0-99999999", "4096", "0 1", "0-3;id", "\u0661"])
def test_other_texts_name_no_cores(text: str) -> None:
    with pytest.raises(ValueError, match=r"cores|twice"):
        parse_cores(text)


@given(CORES, st.integers(1, 9))
def test_shares_are_all_cores_once_and_even(cores: tuple[int, ...], count: int) -> None:
    found = shares(cores, count)
    sizes = {len(share) for share in found}
    assert sum(found, ()) == cores
    assert max(sizes) - min(sizes) <= 1
