"""Nothing is left on a machine but what was asked for: no caches, no databases, no temporary files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.onnxruntime_module import TELEMETRY_VARIABLE
from tests.support.cli import unspool_process
from tests.support.models import normal, perceptron, saved


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of somebody who was never here; ONNX Runtime reports on them unless told not to."""
    for name in (TELEMETRY_VARIABLE, "CI", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    return {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}


def left_behind(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for name in ("home", "tmp") for path in (folder / name).rglob("*"))


def test_a_compilation_and_a_run_leave_nothing_elsewhere(tmp_path: Path, machine: dict[str, str]) -> None:
    model, bundle, inputs = saved(perceptron(), tmp_path / "model.onnx"), tmp_path / "bundle", tmp_path / "in.npz"
    np.savez(inputs, x=normal(2, 16))
    for command in (
        ("compile", model, "-o", bundle),
        ("verify", bundle, "--against", model),
        ("run", bundle, "--inputs", inputs, "-o", tmp_path / "out.npz"),
    ):
        done = unspool_process(*command, cwd=tmp_path, environment=machine)
        assert done.status == 0, done.stderr
    assert left_behind(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bundle", "home", "in.npz", "model.onnx", "out.npz", "tmp",
    ]  # fmt: skip
