from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import UsageError
from compiler.tuning.lengths import Lengths, read_lengths

COUNTS = st.dictionaries(st.integers(1, 60), st.integers(1, 50), min_size=1, max_size=20)
WANTED = Lengths.of({2: 3, 5: 1})


def test_every_format_tells_the_same_lengths(tmp_path: Path) -> None:
    texts = {
        "lines.csv": "2\n2\n2\n5\n",
        "counted.csv": "length,count\n2,3\n5,1\n",
        "lengths.json": "[2, 2, 5, 2]",
        "counts.json": '{"2": 3, "5": 1}',
        "tokens.json": "[[7, 2], [8, 2], [1, 1, 1, 1, 2], [9, 2]]",
        "tokens.txt": "7 2\n8 2\n\n1 1 1 1 2\n9 2\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert read_lengths(tmp_path / name) == WANTED, name
    np.savez(tmp_path / "run.npz", tokens=np.zeros((4, 5), np.int64), lengths=np.array([2, 5, 2, 2]))
    assert read_lengths(tmp_path / "run.npz") == WANTED


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty.csv", ""),
        ("words.csv", "length\nmany\n"),
        ("zero.csv", "0,4\n"),
        ("long.csv", "1000000000\n"),
        ("negative.json", '{"3": -1}'),
        ("nothing.json", '{"3": 0}'),
        ("endless.json", '{"3": 1e999}'),
        ("fractions.json", "[1.5]"),
        ("number.json", "4"),
        ("broken.json", "[1,"),
        ("deep.json", "[" * 100_000),
        ("words.txt", "the cat\n"),
        ("other.bin", "1"),
        ("pickled.npz", "no archive"),
    ],
)
def test_what_holds_no_lengths_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        read_lengths(tmp_path / name)
    assert name in str(caught.value)


@given(COUNTS)
def test_probabilities_sum_to_one_and_tell_mean_and_quantiles(counts: dict[int, int]) -> None:
    lengths = Lengths.of(counts)
    every = np.repeat(list(counts), list(counts.values()))
    assert sum(lengths.probabilities) == pytest.approx(1)
    assert lengths.mean == pytest.approx(every.mean())
    assert lengths.longest == every.max()
    for part in (0.05, 0.5, 0.95, 1.0):
        assert lengths.quantile(part) == np.quantile(every, part, method="inverted_cdf")
    exceeding = lengths.exceeding(70)
    assert exceeding == pytest.approx([(every > n).mean() for n in range(71)])


@given(COUNTS, st.integers(1, 70))
def test_no_decode_is_longer_than_a_limit(counts: dict[int, int], limit: int) -> None:
    limited = Lengths.of(counts).limited(limit)
    every = np.minimum(np.repeat(list(counts), list(counts.values())), limit)
    assert limited.mean == pytest.approx(every.mean())
    assert limited.longest <= limit


@given(COUNTS, st.integers(1, 6))
def test_strata_stand_for_all(counts: dict[int, int], most: int) -> None:
    lengths = Lengths.of(counts)
    strata = lengths.strata(most)
    assert 1 <= len(strata) <= most
    assert sum(part for _, part in strata) == pytest.approx(1)
    assert sum(n * part for n, part in strata) == pytest.approx(lengths.mean, abs=0.51)
    assert all(1 <= n <= lengths.longest for n, _ in strata)


def test_a_batch_is_as_long_as_its_longest_row() -> None:
    lengths = Lengths.of({1: 1, 3: 1}).of_batches(2)
    assert lengths.probabilities == pytest.approx((0, 0.25, 0, 0.75))


def test_counts_may_be_shares(tmp_path: Path) -> None:
    path = tmp_path / "shares.json"
    path.write_text(json.dumps({"2": 0.75, "5": 0.25}))
    assert read_lengths(path) == WANTED
