"""ONNX's own backend tests: what passes must go on to pass, and what does not is on record with its reason.

`unspool ops --coverage --json > tests/golden/backend_suite.json` writes the record anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from compiler.coverage import Score, measure_coverage

RECORD = Path(__file__).parents[2] / "golden/backend_suite.json"


@pytest.fixture(scope="module")
def score() -> Score:
    return measure_coverage()


def test_every_test_ends_as_on_record(score: Score) -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert record["onnx"] == onnx.__version__, "another version of onnx brings other tests: write the record anew"
    found = score.document()
    before = {case["name"]: f"{case['outcome']}: {case['reason']}" for case in record["not_passed"]}
    now = {case["name"]: f"{case['outcome']}: {case['reason']}" for case in found["not_passed"]}
    assert {name: now[name] for name in now.keys() - before.keys()} == {}, "regressions"
    assert sorted(before.keys() - now.keys()) == [], "these pass now: write the record anew"
    assert now == before
    assert found == {key: record[key] for key in found}


def test_nothing_is_wrong_and_all_that_needs_no_image_passes(score: Score) -> None:
    assert score.mismatched == 0
    assert score.passed >= 1975
    assert {case.outcome for case in score.cases} == {"passed", "unsupported"}
