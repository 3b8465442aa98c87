"""How ONNX's backend tests ended, on record: a regression and a pass that nobody expected both fail."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx


def read_record(path: Path) -> dict[str, Any]:
    """A record that `unspool ops --coverage --json` wrote, of the installed version of onnx."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert record["onnx"] == onnx.__version__, "another version of onnx brings other tests: write the record anew"
    return record


def require_as_on_record(found: Sequence[Mapping[str, str]], record: Sequence[Mapping[str, str]]) -> None:
    """Assert that the same tests do not pass, and that they end in the same way."""
    before = {case["name"]: case["outcome"] for case in record}
    now = {case["name"]: case["outcome"] for case in found}
    assert {name: now[name] for name in now.keys() - before.keys()} == {}, "regressions"
    assert sorted(before.keys() - now.keys()) == [], "these pass now: write the record anew"
    assert now == before
