from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from artifacts.checks import OutputCheck
from artifacts.report import EngineSize, WeightsReport
from artifacts.tolerances import EXACT, compare
from compiler.build_log import BuildLog
from passes.eliminate_dead_code import EliminateDeadCode
from passes.pipeline import PassRun

WEIGHTS = WeightsReport(source_bytes=30, unique_bytes=20, merged=1)


def check(difference: float) -> OutputCheck:
    array = np.zeros(3, np.float32)
    return OutputCheck("model", 0, "y", compare(array, array + np.float32(difference), EXACT))


def test_stages_are_timed_and_shown_on_stderr_alone(capsys: pytest.CaptureFixture[str]) -> None:
    log = BuildLog()
    with log.stage("emit", "model for paper"):
        time.sleep(0.02)
    (stage,) = log.times
    assert stage.name == "emit"
    assert 0.02 <= stage.seconds < 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "emit" in printed.err
    assert "model for paper" in printed.err
    assert "\x1b" not in printed.err, "plain lines where there is no terminal"


def test_a_terminal_sees_that_something_is_going_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with BuildLog().stage("emit", "model for paper"):
        time.sleep(0.3)
        assert "emit: model for paper" in capsys.readouterr().err


def test_a_quiet_log_shows_nothing_and_keeps_everything(capsys: pytest.CaptureFixture[str]) -> None:
    log = BuildLog(quiet=True)
    with log.stage("emit"):
        pass
    assert len(log.times) == 1
    assert capsys.readouterr() == ("", "")


def test_a_stage_that_fails_is_not_told_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    log = BuildLog()
    with pytest.raises(ValueError, match="broken"), log.stage("emit"):
        raise ValueError("broken")
    assert log.times == []
    assert "emit" not in capsys.readouterr().err


def test_the_report_holds_what_was_recorded() -> None:
    log = BuildLog(quiet=True)
    with log.stage("convert"):
        log.record([check(0.125), check(0.5), check(0.25)], "convert")
    log.record_pass(PassRun(EliminateDeadCode(), True, ("removed 3 nodes",), (check(0.25),)))
    log.notices.append("the batch is fixed")
    report = log.report("a key", {"model": {"decoder": ["w.bin"]}}, [EngineSize(name="model", source_bytes=7)], WEIGHTS)

    assert [stage.name for stage in report.stages] == ["convert"]
    assert [(n.model, n.after, n.output, n.max_abs) for n in report.numerics] == [
        ("model", "convert", "y", 0.5),
        ("model", "eliminate-dead-code", "y", 0.25),
    ]
    assert report.log == ("eliminate-dead-code: removed 3 nodes",)
    assert report.notices == ("the batch is fixed",)
    assert (report.key, report.weights, report.engines[0].source_bytes) == ("a key", WEIGHTS, 7)
    assert report.external == {"model": {"decoder": ("w.bin",)}}
    assert report.seconds >= report.stages[0].seconds
    assert report.machine.processors >= 1
    assert report.started.endswith("+00:00")


def test_a_difference_without_bound_has_no_number() -> None:
    log = BuildLog(quiet=True)
    log.record([check(np.inf)], "convert")
    (numerics,) = log.report("", {}, [], WEIGHTS).numerics
    assert numerics.max_abs is None
    assert not numerics.passed
