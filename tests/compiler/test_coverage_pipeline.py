"""ONNX's backend tests through the whole pipeline: what passes must go on to pass, what does not is on record.

`unspool ops --coverage --pipeline --json > tests/golden/backend_suite_pipeline.json` writes the record anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from onnx.backend.test.case.test_case import TestCase as BackendCase
from onnx.backend.test.loader import load_model_tests

from compiler.coverage import CaseResult
from compiler.coverage_pipeline import PipelineScore, measure_pipeline, run_case
from compiler.coverage_pipeline_document import pipeline_markdown
from tests.support.suite_record import read_record, require_as_on_record

RECORD = Path(__file__).parents[1] / "golden/backend_suite_pipeline.json"


@pytest.fixture(scope="module")
def cases() -> Mapping[str, BackendCase]:
    return {case.name: case for case in load_model_tests(kind="node")}


@pytest.mark.filterwarnings("ignore")  # the suite makes its own data, overflows and divisions by zero included
@pytest.mark.parametrize(
    ("name", "outcome", "from_source"),
    [
        ("test_add_bcast", "passed", True),
        ("test_constant", "passed", True),  # no input
        ("test_castlike_DOUBLE_to_FLOAT", "passed", True),  # an input of no elements, whose size the file leaves open
        ("test_cumprod_1d", "unsupported", True),
        ("test_bernoulli", "unsupported", False),
    ],
)
def test_a_test_is_judged_as_compiled_and_from_the_source(
    cases: Mapping[str, BackendCase], name: str, outcome: str, from_source: bool
) -> None:
    found, passes = run_case(cases[name])
    assert (found.outcome, passes) == (outcome, from_source)
    assert bool(found.reason) == (outcome != "passed")


@pytest.mark.filterwarnings("ignore")
def test_a_wrong_answer_is_mismatched(cases: Mapping[str, BackendCase]) -> None:
    case = cases["test_add_bcast"]
    [(inputs, [expected])] = case.data_sets or []
    wrong = replace(case, data_sets=[(inputs, [expected + 1])])
    assert run_case(wrong)[0].outcome == "mismatched"


def score() -> PipelineScore:
    return PipelineScore(
        (
            CaseResult("a", "node", "passed"),
            CaseResult("b", "node", "failed", "no | way"),
            CaseResult("c", "node", "unsupported", "strings"),
        ),
        frozenset({"a", "b"}),
    )


def test_what_onnxruntime_does_not_run_is_listed_apart() -> None:
    document = score().document()
    assert (document["passed"], document["total"], document["onnxruntime_from_source"]) == (1, 3, 2)
    assert [case["name"] for case in document["not_passed"]] == ["b"]
    assert [case["name"] for case in document["not_passed_from_source_either"]] == ["c"]


def test_the_document_has_every_reason() -> None:
    ours, _, both = pipeline_markdown(score()).partition("## What ONNX Runtime does not pass")
    assert "| failed | no / way | 1 | `b` |" in ours
    assert "| unsupported | strings | 1 | `c` |" in both


def test_the_record_explains_every_miss() -> None:
    record = read_record(RECORD)
    assert record["passed"] >= 1300
    assert {case["outcome"] for case in record["not_passed"]} <= {"failed", "unsupported"}, "none is wrong"
    misses = record["not_passed"] + record["not_passed_from_source_either"]
    assert record["passed"] + len(misses) == record["total"]
    assert all(case["reason"] for case in misses)


@pytest.mark.slow
def test_every_test_ends_as_on_record() -> None:
    record = read_record(RECORD)
    found = json.loads(json.dumps(measure_pipeline(workers=2).document()))
    for kind in ("not_passed", "not_passed_from_source_either"):
        require_as_on_record(found[kind], record[kind])
    assert (found["passed"], found["total"]) == (record["passed"], record["total"])
