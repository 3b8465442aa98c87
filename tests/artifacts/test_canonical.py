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

from artifacts.canonical import BLOCK_BYTES, canonical_json, sha256_bytes, sha256_file

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
