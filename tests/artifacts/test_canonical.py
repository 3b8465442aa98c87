from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from artifacts.canonical import BLOCK_BYTES, canonical_json, file_blocks, sha256_blocks, sha256_bytes, sha256_file

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
INDENTS = st.sampled_from([None, 2])


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


@given(JSON, INDENTS)
def test_reading_gives_back_what_was_written(value: Any, indent: int | None) -> None:
    written = canonical_json(value, indent=indent)
    assert json.loads(written) == value
    assert canonical_json(json.loads(written), indent=indent) == written


@given(JSON, INDENTS)
def test_the_order_of_keys_does_not_matter(value: Any, indent: int | None) -> None:
    assert canonical_json(reversed_keys(value), indent=indent) == canonical_json(value, indent=indent)


def test_the_bytes_are_what_the_docstring_says() -> None:
    value: JsonValue = {"b": [1, 1.0, -0.0, 1e-5], "a": "é\n"}
    assert canonical_json(value) == '{"a":"é\\n","b":[1,1.0,-0.0,1e-05]}\n'.encode()
    assert canonical_json({"b": [], "a": {"c": None}}, indent=2) == (
        b'{\n  "a": {\n    "c": null\n  },\n  "b": []\n}\n'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "\ud800"])
def test_what_json_or_utf8_cannot_say_is_refused(value: float | str) -> None:
    with pytest.raises(ValueError, match=r"not JSON compliant|surrogates not allowed"):
        canonical_json([value])


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_a_files_digest_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "f").write_bytes(data[:size])
    assert sha256_file(tmp_path / "f") == sha256_bytes(data[:size]) == hashlib.sha256(data[:size]).hexdigest()


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_the_blocks_of_a_file_are_its_bytes(tmp_path: Path, size: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    (tmp_path / "f").write_bytes(data)
    blocks = [bytes(block) for block in file_blocks(tmp_path / "f")]
    assert b"".join(blocks) == data
    assert all(0 < len(block) <= BLOCK_BYTES for block in blocks)


def test_blocks_come_in_the_same_memory(tmp_path: Path) -> None:
    """So a file of any size takes one block of memory: who keeps one has to copy it."""
    (tmp_path / "f").write_bytes(b"a" * BLOCK_BYTES + b"b" * BLOCK_BYTES)
    first, second = file_blocks(tmp_path / "f")
    assert bytes(first[:1]) == bytes(second[:1]) == b"b"


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_the_digest_of_blocks_is_that_of_their_bytes(blocks: list[bytes]) -> None:
    assert sha256_blocks(memoryview(block) for block in blocks) == hashlib.sha256(b"".join(blocks)).hexdigest()


def test_a_file_that_is_not_there_is_seen_when_it_is_read(tmp_path: Path) -> None:
    for read in (sha256_file, lambda path: list(file_blocks(path))):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none")
