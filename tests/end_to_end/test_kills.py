"""SIGKILL at random points of a compilation: the destination has nothing, or a whole bundle, and the next run works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import child_environment
from tests.support.models import perceptron, saved


def killed(folder: Path, count: int) -> dict[str, Any]:
    models = [saved(perceptron(seed), folder / f"{seed}.onnx") for seed in (1, 2)]
    command = [sys.executable, "-m", "tests.support.killing", str(folder / "out"), *map(str, models), str(count), "7"]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert isinstance(seen, dict)
    return seen


def check(seen: dict[str, Any], count: int) -> None:
    assert len(seen["kills"]) == count
    assert seen["old"] != seen["new"]
    for kill in seen["kills"]:
        whole = {seen["old"], seen["new"]} if kill["force"] else {"none", seen["new"]}
        assert kill["found"] in whole
    assert set(seen["statuses"]) == {0}
    assert seen["left"] == ["bundle"]
    # Kills that all came too early, or too late, would show nothing.
    assert any(kill["beside"] for kill in seen["kills"])
    assert not all(kill["ended_before"] for kill in seen["kills"])


def test_four_kills_leave_nothing_half_made(tmp_path: Path) -> None:
    check(killed(tmp_path, 4), 4)


@pytest.mark.slow
def test_fifty_kills_leave_nothing_half_made(tmp_path: Path) -> None:
    seen = killed(tmp_path, 50)
    check(seen, 50)
    founds = {(kill["force"], kill["found"]) for kill in seen["kills"]}
    assert founds >= {(False, "none"), (True, seen["old"])}
