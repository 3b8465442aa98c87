from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import compiler.inspect
from artifacts.errors import BundleError, Problem, UsageError
from compiler.cli.main import DEBUG_VARIABLE, app, main, run
from tests.support.cli import child_environment, unspool, unspool_process

FLAGS = {
    "compile": {
        *("--instances", "--num-cores", "--visible-cores", "--exec-timeout", "--loading"),
        *("--shared-weights", "--no-shared-weights"),
        *("--output", "-o", "--target", "--precision", "--require", "--atol", "--rtol", "--force", "--depfile"),
        *("--schedule", "--cache", "--partitions", "--max-length", "--bos", "--eos", "--pad"),
        *("--min-shapes", "--opt-shapes", "--max-shapes", "--samples", "--json"),
        *("--compute-capabilities", "--tf32", "--optimization-level", "--version-compatible"),
        *("--hardware-compatibility", "--weights"),
        *("--buckets", "--bucketed", "--most-buckets", "--bucket-costs", "--padding"),
    },
    "convert": {"--output", "-o", "--opt-shapes", "--samples", "--atol", "--rtol", "--force", "--json"},
    "tune": {
        *("--lengths", "--objective", "--costs", "--most-partitions", "--batch", "--threads", "--target"),
        *("--max-length", "--bos", "--eos", "--pad", "--samples", "--output", "-o", "--force", "--json"),
    },
    "buckets": {"--most-buckets", "--costs", "--json"},
    "emit": {"--from", "--target", "--output", "-o", "--compute-capabilities", "--require", "--force", "--store"},
    "run": {"--inputs", "--output", "-o", "--model", "--threads", "--json"},
    "verify": {"--against", "--inputs", "--model", "--atol", "--rtol", "--json"},
    "check": {"--on", "--json"},
    "inspect": {"--json"},
    "launch": {"--output", "-o", "--instances", "--cores", "--json"},
    "pack": {"--output", "-o", "--force", "--json"},
    "unpack": {"--output", "-o", "--force", "--store", "--json"},
    "targets": {"--json"},
    "ops": {"--coverage", "--json"},
    "schema": {"--json"},
}


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `unspool inspect` fail in a way of our choice."""

    def fail(_: Path) -> Any:
        raise error

    monkeypatch.setattr(compiler.inspect, "inspect", fail)


def test_every_command_is_known_here() -> None:
    assert {command.name for command in app.registered_commands} == set(FLAGS)


@pytest.mark.parametrize("command", FLAGS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_flag(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, flag: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    found = unspool(capsys, command, flag)
    assert found.status == 0
    assert found.stderr == ""
    words = set(found.stdout.replace(",", " ").split())
    assert words >= FLAGS[command]


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    found = unspool(capsys, "--help")
    assert found.status == 0
    assert set(FLAGS) <= set(found.stdout.split())


def test_a_call_without_arguments_shows_help_and_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    found = unspool(capsys)
    assert found.status == 2
    assert "Usage: unspool" in found.stdout + found.stderr


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["frobnicate"], "No such command 'frobnicate'", "unspool --help"),
        (["inspect"], "Missing argument", "unspool inspect --help"),
        (["inspect", "a", "b"], "unexpected extra argument", "unspool inspect --help"),
        (["inspect", "a", "--frobnicate"], "No such option: --frobnicate", "unspool inspect --help"),
        (["compile", "a.onnx"], "Missing option '-o'", "unspool compile --help"),
        (["compile", "a.onnx", "-o"], "requires an argument", "--help"),
        (["compile", "a.onnx", "-o", "b", "--atol", "-1"], "--atol", "unspool compile --help"),
        (["compile", "a.onnx", "-o", "b", "--atol", "x"], "--atol", "unspool compile --help"),
        (["compile", "a.onnx", "-o", "b", "--schedule", "x"], "'loop'", "unspool compile --help"),
        (["compile", "a.onnx", "-o", "b", "--precision", "x"], "'int4-weight'", "unspool compile --help"),
        (["compile", "a.onnx", "-o", "b", "--max-length", "0"], "--max-length", "unspool compile --help"),
        (["compile", "a.onnx", "-o", "b", "--samples", "no.npz"], "no.npz", "unspool compile --help"),
        (["run", "bundle", "--inputs", "no.npz"], "no.npz", "unspool run --help"),
    ],
)
def test_a_wrong_call_is_status_2_with_a_hint_as_text_and_as_json(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, hint: str
) -> None:
    found = unspool(capsys, *arguments)
    assert (found.status, found.stdout) == (2, "")
    assert message in found.stderr
    assert hint in found.stderr

    found = unspool(capsys, arguments[0], "--json", *arguments[1:])
    assert (found.status, found.stderr) == (2, "")
    assert found.document["ok"] is False
    assert found.error["stage"] == "options"
    assert message in found.error["message"]
    assert hint in found.error["hint"]


@pytest.mark.parametrize(("error", "status"), [(UsageError, 2), (BundleError, 1)])
def test_every_problem_of_an_error_is_printed_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: type[BundleError], status: int
) -> None:
    problems = [Problem("bundle", "a", "is missing", "look for it"), Problem("bundle", "b", "is broken", "mend it")]
    failing(monkeypatch, error(*problems))
    found = unspool(capsys, "inspect", "x")
    assert found.status == status
    assert found.stdout == ""
    assert found.stderr == (
        "error: bundle: a: is missing\n  hint: look for it\nerror: bundle: b: is broken\n  hint: mend it\n"
    )
    found = unspool(capsys, "inspect", "x", "--json")
    assert found.status == status
    assert found.stderr == ""
    assert found.document == {
        "ok": False,
        "errors": [
            {"stage": "bundle", "subject": "a", "message": "is missing", "hint": "look for it"},
            {"stage": "bundle", "subject": "b", "message": "is broken", "hint": "mend it"},
        ],
    }


def test_a_defect_of_ours_is_no_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ZeroDivisionError("three by nothing"))
    monkeypatch.delenv(DEBUG_VARIABLE, raising=False)
    found = unspool(capsys, "inspect", "x", "--json")
    assert (found.status, found.stderr) == (1, "")
    assert (found.error["stage"], found.error["subject"]) == ("internal", "ZeroDivisionError")
    assert found.error["message"] == "three by nothing"
    assert DEBUG_VARIABLE in found.error["hint"]
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    found = unspool(capsys, "inspect", "x", "--json")
    assert found.error["subject"] == "ZeroDivisionError"
    assert "Traceback" in found.stderr


def test_an_interrupt_is_status_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    found = unspool(capsys, "inspect", "x")
    assert (found.status, found.stdout) == (130, "")
    assert "interrupted" in found.stderr
    found = unspool(capsys, "inspect", "x", "--json")
    assert (found.status, found.stderr) == (130, "")
    assert found.error["message"] == "interrupted"


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = "import sys; from compiler.cli.main import run; run(sys.argv[1:])"
    command = [sys.executable, "-c", script, "schema"]
    with subprocess.Popen(
        command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_the_console_script_ends_with_the_status() -> None:
    assert unspool_process("frobnicate").status == 2
    assert unspool_process("schema").status == 0


def test_arguments_of_the_process_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["unspool", "frobnicate"])
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == main(["frobnicate"]) == 2
