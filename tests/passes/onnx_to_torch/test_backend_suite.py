"""ONNX's own backend tests: what passes must go on to pass, and what does not is on record with its reason.

`unspool ops --coverage --json > tests/golden/backend_suite.json` writes the record anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.coverage import Score, measure_coverage
from tests.support.suite_record import read_record, require_as_on_record

RECORD = Path(__file__).parents[2] / "golden/backend_suite.json"


@pytest.fixture(scope="module")
def score() -> Score:
    return measure_coverage()


def test_every_test_ends_as_on_record(score: Score) -> None:
    record = read_record(RECORD)
    found = score.document()
    require_as_on_record(found["not_passed"], record["not_passed"])
    assert found == {key: record[key] for key in found}


def test_nothing_is_wrong_and_all_that_needs_no_image_passes(score: Score) -> None:
    assert score.mismatched == 0
    assert score.passed >= 1975
    assert {case.outcome for case in score.cases} == {"passed", "unsupported"}
