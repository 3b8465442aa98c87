from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.errors import UsageError
from compiler.tuning import sizes as sizes_module
from compiler.tuning.lengths import Lengths
from compiler.tuning.sizes import MOST_SIZES, best_sizes, named_size, read_size_costs

COUNTS = st.dictionaries(st.integers(1, 30), st.integers(1, 9), min_size=1, max_size=8)
COSTS = st.fixed_dictionaries({size: st.sampled_from([0.0, 1, 2.5, 7, 40]) for size in (1, 4, 9, 30)})


def held_by(size: int, buckets: Sequence[int]) -> int:
    return min(bucket for bucket in buckets if bucket >= size)


def cost_at(size: int, costs: Mapping[int, float] | None) -> float:
    if costs is None:
        return size
    below, above = max(s for s in costs if s <= size), min(s for s in costs if s >= size)
    part = 0.0 if above == below else (size - below) / (above - below)
    return costs[below] + part * (costs[above] - costs[below])


def expected(counts: Mapping[int, int], buckets: Sequence[int], costs: Mapping[int, float] | None) -> float:
    total = sum(counts.values())
    return sum(count * cost_at(held_by(size, buckets), costs) for size, count in counts.items()) / total


@settings(max_examples=200)
@given(COUNTS, st.integers(1, 5), st.none() | COSTS)
def test_no_sizes_cost_less(counts: dict[int, int], most: int, costs: dict[int, float] | None) -> None:
    found = best_sizes(Lengths.of(counts), most, costs)
    assert found.sizes[-1] == max(counts)
    assert len(found.sizes) <= most
    inner = sorted(counts)[:-1]
    every = [(*cut, max(counts)) for count in range(most) for cut in itertools.combinations(inner, count)]
    assert found.cost == pytest.approx(expected(counts, found.sizes, costs))
    assert found.cost == pytest.approx(min(expected(counts, cut, costs) for cut in every))


@given(COUNTS, st.integers(1, 5))
def test_the_share_of_padding_is_that_of_the_requests(counts: dict[int, int], most: int) -> None:
    found = best_sizes(Lengths.of(counts), most)
    computed = sum(count * held_by(size, found.sizes) for size, count in counts.items())
    asked = sum(count * size for size, count in counts.items())
    assert found.padding == pytest.approx(1 - asked / computed)
    assert sum(found.shares) == pytest.approx(1)
    for bucket, share in zip(found.sizes, found.shares, strict=True):
        held = sum(count for size, count in counts.items() if held_by(size, found.sizes) == bucket)
        assert share == pytest.approx(held / sum(counts.values()))


def test_dear_calls_make_few_sizes() -> None:
    lengths = Lengths.of({10: 1, 20: 1, 30: 1})
    assert best_sizes(lengths, 3).sizes == (10, 20, 30)
    assert best_sizes(lengths, 3, {10: 5, 30: 5}).sizes == (30,), "a further engine that saves nothing is not made"
    assert best_sizes(lengths, 3, {10: 1, 20: 9, 30: 9}).sizes == (10, 30)


def test_of_very_many_sizes_those_next_to_each_other_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes_module, "MOST_SIZES", 4)
    found = best_sizes(Lengths.of(dict.fromkeys(range(1, 11), 1)), 8)
    assert found.sizes == (3, 6, 9, 10)
    assert found.padding == pytest.approx(1 - 55 / (3 * 3 + 3 * 6 + 3 * 9 + 10))
    assert MOST_SIZES > 4


def test_costs_end_where_they_were_measured() -> None:
    with pytest.raises(UsageError, match="tell nothing of size 40: they go from 8 to 32"):
        best_sizes(Lengths.of({16: 1, 40: 1}), 2, {8: 1, 32: 2})


def test_costs_come_from_either_file(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("size,cost\n8,1.5\n16,2\n")
    (tmp_path / "c.json").write_text('{"8": 1.5, "16": 2}')
    assert read_size_costs(tmp_path / "c.csv") == read_size_costs(tmp_path / "c.json") == {8: 1.5, 16: 2.0}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv", ""),
        ("c.csv", "8\n"),
        ("c.csv", "8,-1\n"),
        ("c.csv", "0,1\n"),
        ("c.csv", "8,nan\n"),
        ("c.json", "[1]"),
        ("c.json", "{"),
        ("c.json", '{"8": "x"}'),
    ],
)
def test_what_holds_no_costs_is_one_error(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=r"c\.(csv|json): holds no costs"):
        read_size_costs(tmp_path / name)


def test_a_heading_names_what_is_counted(tmp_path: Path) -> None:
    (tmp_path / "named.csv").write_text("sequence,count\n8,1\n")
    (tmp_path / "bare.csv").write_text("8,1\n")
    (tmp_path / "sizes.json").write_text("[8]")
    names = [named_size(tmp_path / name) for name in ("named.csv", "bare.csv", "sizes.json", "absent.csv")]
    assert names == ["sequence", None, None, None]
