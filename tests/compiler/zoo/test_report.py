from __future__ import annotations

import re

import pytest

from compiler.zoo.ledger import Attempt, Build, Result, State
from compiler.zoo.report import drawings, page

pytest.importorskip("plotly")

BUILDS = [Build(2, "2026-01-02T00:00:00", 3.5, "failed", "0.1", "local", 2)]
BUILDS.append(Build(1, "2026-01-01T00:00:00", None, "killed", "0.1", "local", 2))
FIGURES = {
    "a/onnxruntime-fp32": {
        "bytes": 3e6,
        "bytes.weights": 2e6,
        "bytes.engines": 5e5,
        "seconds": 4.0,
        "seconds.emit": 1.5,
        "numerics.a.y": 1e-7,
    }
}


def result(job: str, state: State, reason: str = "") -> Result:
    attempts = (Attempt(reason, 1.0),) if reason else ()
    return Result(job, job.partition("/")[0], "onnxruntime", "fp32", None, (), state, "new", attempts=attempts)


GOOD = result("a/onnxruntime-fp32", State.BUILT)


def test_a_page_loads_nothing() -> None:
    text = page("a zoo", BUILDS, [GOOD], FIGURES)
    assert text.startswith("<!DOCTYPE html>")
    assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="[^"]*"', text) == []


def test_bars_are_of_the_jobs_that_have_figures_and_of_builds_that_ended() -> None:
    bad = result("b/onnxruntime-fp32", State.FAILED, "crashed")
    charts, builds, _ = drawings("a zoo", BUILDS, [GOOD, bad], FIGURES)
    assert "1 built, 1 failed" in charts.layout.title.text
    bars = {trace.name: (list(trace.y), list(trace.x)) for trace in charts.data if trace.type == "bar"}
    assert bars == {
        "weights": (["a/onnxruntime-fp32"], [2.0]),
        "engines": (["a/onnxruntime-fp32"], [0.5]),
        "samples and the rest": (["a/onnxruntime-fp32"], [0.5]),
        "stage emit": (["a/onnxruntime-fp32"], [1.5]),
    }
    assert [list(trace.x) for trace in charts.data if trace.type == "scatter"] == [[1e-7]]
    assert (list(builds.data[0].x), list(builds.data[0].y)) == (["build 2"], [3.5])


def test_what_failed_comes_first_and_what_a_model_says_is_text() -> None:
    bad = result("b/onnxruntime-fp32", State.FAILED, "<script>")
    _, _, table = drawings("a zoo", BUILDS, [GOOD, bad], FIGURES)
    columns = [list(column) for column in table.data[0].cells.values]
    assert columns[0] == ["b/onnxruntime-fp32", "a/onnxruntime-fp32"]
    assert columns[3] == ["", "3.0"]
    assert columns[-1] == ["&lt;script&gt;", ""]
