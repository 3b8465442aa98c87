from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifacts.neuron_options import NeuronOptions
from compiler.compile import compile_bundle
from compiler.neuron.probe import Compiler, probe
from compiler.neuron.tracers import PYTHON
from compiler.options import CompileOptions, ModelFile
from tests.support import neuron_tracers
from tests.support.models import PROJECT, BundleCache
from tests.support.neuron_tracers import InstallTracer
from tests.support.neuronx_cc import TRACE, WAY, Double, Install, Way, install

RECORDED = NeuronOptions(target="trn2", auto_cast="all", auto_cast_type="fp16", logical_nc_config=2)


@pytest.fixture(scope="session")
def recorded_sources(cache: BundleCache, perceptron_file: Path) -> Path:
    """A bundle with one source, which says that it is to be compiled as `RECORDED`."""
    pytest.importorskip("jax")
    options = CompileOptions(target="neuronx", opt_shapes=(("x", (4, 16)),), neuron=RECORDED)
    model = ModelFile("perceptron", perceptron_file)
    return cache.get("perceptron-neuronx-recorded", lambda path: compile_bundle([model], path, options))


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


@pytest.fixture
def tracer_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstallTracer]:
    """Puts a double of a package that traces on PYTHONPATH. Afterwards nothing of it may be in the temporary folder."""
    traces, temporary, packages = (tmp_path / name for name in ("tracer-traces", "tracer-temporary", "sdk"))
    traces.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(packages), str(PROJECT))))
    monkeypatch.setenv(neuron_tracers.TRACE, str(traces))
    monkeypatch.delenv(PYTHON, raising=False)
    monkeypatch.delenv("NEURON_CC_FLAGS", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def put(name: str, way: neuron_tracers.Way = "success", version: str = "") -> Path:
        neuron_tracers.install(packages, name, version or neuron_tracers.VERSIONS[name])
        monkeypatch.setenv(neuron_tracers.WAY, way)
        return traces

    yield put
    assert not list(temporary.glob("unspool-*"))
