from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.neuron.probe import Compiler, probe
from tests.support.neuronx_cc import TRACE, WAY, Double, Install, Way, install


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts the double on PATH, to behave in a given way. Afterwards nothing of it may be in the temporary folder."""
    traces, temporary = tmp_path / "traces", tmp_path / "temporary"
    traces.mkdir()
    temporary.mkdir()
    program = install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(TRACE, str(traces))
    monkeypatch.delenv("NEURON_CC_FLAGS", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def put(way: Way) -> Double:
        monkeypatch.setenv(WAY, way)
        return Double(program, traces, temporary)

    yield put
    assert not list(temporary.iterdir())


@pytest.fixture
def compiler(double: Install) -> Compiler:
    double("success")
    found = probe().compiler
    assert isinstance(found, Compiler)
    return found
