from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.weights import Bytes
from passes import weight_runs
from passes.weight_runs import Run, equal_bytes, find_runs
from tests.artifacts.test_mapped_pages import mapped, resident

TYPES = ("int8", "float16", "float32", "float64")


def content(array: np.ndarray) -> Bytes:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


@st.composite
def tables_and_parts(draw: st.DrawFn) -> tuple[str, Bytes, Bytes]:
    """An element type, the bytes of a table with many repetitions, and a part of them or nearly one."""
    kind = draw(st.sampled_from(TYPES))
    size = draw(st.integers(12, 80))
    values = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    table = np.array(values).astype(kind)
    length = draw(st.integers(1, size - 1))
    start = draw(st.integers(0, size - length))
    part = table[start : start + length].copy()
    if draw(st.booleans()):
        part[draw(st.integers(0, length - 1))] += 1
    return kind, content(table), content(part)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(tables_and_parts())
def test_a_part_is_found_if_and_only_if_it_is_there(found: tuple[str, Bytes, Bytes]) -> None:
    kind, table, part = found
    width = np.dtype(kind).itemsize
    runs = find_runs({"table": table, "part": part}, {"table": width, "part": width})
    starts = range(0, table.nbytes - part.nbytes + 1, width)
    places = [at for at in starts if bytes(table[at : at + part.nbytes]) == bytes(part)]
    if part.nbytes < weight_runs.WORD_BYTES:
        assert runs == {}
    elif places:
        assert runs["part"].digest == "table"
        assert runs["part"].offset in places
    else:
        assert runs == {}


def test_a_part_of_a_part_is_in_the_largest() -> None:
    table = np.arange(64, dtype=np.float32)
    contents = {name: content(table[:end]) for name, end in (("whole", 64), ("half", 32), ("quarter", 16))}
    assert find_runs(contents, dict.fromkeys(contents, 4)) == {"half": Run("whole", 0), "quarter": Run("whole", 0)}


def test_a_place_is_a_multiple_of_an_element() -> None:
    table = content(np.arange(100, dtype=np.uint8))
    part = table[6:22]
    assert find_runs({"table": table, "part": part}, {"table": 1, "part": 2}) == {"part": Run("table", 6)}
    assert find_runs({"table": table, "part": part}, {"table": 1, "part": 4}) == {}


def test_what_could_not_be_shown_as_elements_of_a_size_holds_none() -> None:
    table = content(np.arange(101, dtype=np.uint8))
    assert find_runs({"table": table, "part": table[8:24]}, {"table": 1, "part": 4}) == {}


def test_parts_lie_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_runs, "CHUNK_WORDS", 4)
    table = np.random.default_rng(0).normal(size=200).astype(np.float32)
    parts = {f"{start}": content(table[start : start + 30]) for start in range(0, 170, 13)}
    found = find_runs({"table": content(table), **parts}, dict.fromkeys(["table", *parts], 4))
    assert found == {name: Run("table", 4 * int(name)) for name in parts}


def test_zeros_in_zeros_are_given_up_on_after_some_trials() -> None:
    zeros = np.zeros(1 << 16, np.uint8)
    almost = zeros[: 1 << 15].copy()
    almost[-1] = 1
    assert find_runs({"zeros": zeros, "almost": almost}, {"zeros": 1, "almost": 1}) == {}


@pytest.mark.parametrize("size", [0, 1, 1 << 12, (1 << 23) + 5])
def test_bytes_are_compared_to_the_last(size: int) -> None:
    one = np.zeros(size, np.uint8)
    other = one.copy()
    assert equal_bytes(one, other)
    if size:
        other[-1] = 1
        assert not equal_bytes(one, other)


def test_mapped_contents_are_in_no_memory_afterwards(tmp_path: Path) -> None:
    """Also those that are not alike: a few words of each were looked at."""
    table = np.arange(1 << 16, dtype=np.uint64)
    contents = {"table": table, "part": table[5000:9000], "other": table[:6000] + 7}
    files = [tmp_path / name for name in contents]
    for file, array in zip(files, contents.values(), strict=True):
        file.write_bytes(array.tobytes())
    maps = {file.name: mapped(file) for file in files}
    runs = find_runs(maps, dict.fromkeys(contents, 8))
    assert runs["part"] == Run("table", 5000 * 8)
    assert [resident(file) for file in files] == [0, 0, 0]
