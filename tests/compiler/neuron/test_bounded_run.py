"""Tools that talk without end, say nothing, or do not end when they should."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from compiler.neuron.bounded_run import KEPT_BYTES, run_tool


def shell(folder: Path, script: str, seconds: float = 60.0, **variables: str) -> tuple[int | None, str]:
    ended = run_tool(["/bin/sh", "-c", script], folder=folder, seconds=seconds, variables=variables)
    return ended.status, ended.said


def test_status_words_and_variables(tmp_path: Path) -> None:
    script = 'echo "$A in $(pwd)"; echo bad >&2; printf "\\377"; cat; exit 3'
    assert shell(tmp_path, script, A="b") == (3, f"b in {tmp_path}\nbad\n\ufffd")


@pytest.mark.parametrize("pythonpath", [None, "/a:/b"])
def test_a_tool_sees_the_pythonpath_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pythonpath: str | None
) -> None:
    if pythonpath is None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONPATH", pythonpath)
    assert shell(tmp_path, 'echo "${PYTHONPATH-unset}"') == (0, f"{pythonpath or 'unset'}\n")


def test_talk_without_end_takes_no_memory_without_end(tmp_path: Path) -> None:
    status, said = shell(tmp_path, "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done", seconds=1.5)
    assert status is None
    assert KEPT_BYTES < len(said) < 2 * KEPT_BYTES + 100


def test_silence_is_waited_for_no_longer_than_asked(tmp_path: Path) -> None:
    began = time.monotonic()
    assert shell(tmp_path, "exec >&- 2>&-; sleep 600", seconds=1.0) == (None, "")
    assert time.monotonic() - began < 30


def test_a_tool_that_closed_its_outputs_still_has_a_status(tmp_path: Path) -> None:
    assert shell(tmp_path, "exec >&- 2>&-; sleep 0.3; exit 7") == (7, "")


def test_signals_are_told_from_statuses(tmp_path: Path) -> None:
    assert shell(tmp_path, "kill -TERM $$") == (-15, "")


def test_a_tool_has_this_processs_environment_and_nothing_else(tmp_path: Path) -> None:
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    ended = run_tool([sys.executable, "-S", "-c", program], folder=tmp_path, seconds=60.0)
    # A Python that starts in the locale C sets this one for itself.
    assert {**json.loads(ended.said), "LC_CTYPE": ""} == {**os.environ, "LC_CTYPE": ""}


def test_a_tool_is_in_a_session_of_its_own(tmp_path: Path) -> None:
    program = "import os; print(os.getsid(0) == os.getpid())"
    ended = run_tool([sys.executable, "-S", "-c", program], folder=tmp_path, seconds=60.0)
    assert ended.said == "True\n"
