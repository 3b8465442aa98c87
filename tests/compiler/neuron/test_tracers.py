"""Which of the SDK's packages can trace, asked of a process of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from artifacts.errors import TargetError
from compiler.neuron.tracers import PYTHON, find_tracer, tracer_tools
from compiler.neuron.tracing import TracerName, Tracing
from tests.support.neuron_tracers import VERSIONS, InstallTracer, Way


@pytest.mark.parametrize("name", ["torch-neuronx", "torch-neuron"])
def test_a_package_that_can_be_imported_is_one(tracer_double: InstallTracer, name: TracerName) -> None:
    tracer_double(name)
    found = find_tracer(name)
    assert (found.name, found.version, found.python) == (name, VERSIONS[name], sys.executable)
    assert not {"torch_neuronx", "torch_neuron"} & set(sys.modules)


@pytest.mark.parametrize(
    ("name", "way", "version", "said"),
    [
        ("torch-neuronx", "placeholder", "1.0", "1.0 is PyPI's placeholder and not the SDK's"),
        ("torch-neuronx", "success", "2.10.0.1", "2.10.0.1 is too new: 2.9 is the last that traces"),
        ("torch-neuronx", "success", "1.11.0.1", "1.11.0.1 is too old"),
        ("torch-neuron", "success", "2.1.0", "2.1.0 is too new: Inf1's is that of torch 1.13"),
        ("torch-neuronx", "broken", "2.9.0", "cannot be imported: ImportError: libnrt.so.1: cannot open shared"),
        ("torch-neuronx", "mute", "2.9.0", "was not imported within 3 seconds"),
    ],
)
def test_what_cannot_be_used_is_told(
    tracer_double: InstallTracer, name: TracerName, way: Way, version: str, said: str
) -> None:
    tracer_double(name, way, version)
    with pytest.raises(TargetError) as caught:
        find_tracer(name, seconds=3.0 if way == "mute" else 60.0)
    (problem,) = caught.value.problems
    assert problem.subject == f"--neuron-tracer {name}"
    assert problem.message.startswith(f"{name} of {sys.executable} {said}")
    assert PYTHON in problem.hint


@pytest.mark.usefixtures("tracer_double")
def test_what_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="it is not installed"):
        find_tracer("torch-neuronx")
    monkeypatch.setenv(PYTHON, str(tmp_path / "no-python"))
    with pytest.raises(TargetError, match="no-python is no program"):
        find_tracer("torch-neuronx")


def test_a_key_has_the_version_and_the_flags(tracer_double: InstallTracer, monkeypatch: pytest.MonkeyPatch) -> None:
    tracer_double("torch-neuronx")
    monkeypatch.setenv("NEURON_CC_FLAGS", "--verbose info")
    assert tracer_tools(Tracing(tracer="torch-neuronx")) == {
        "torch-neuronx": f"{VERSIONS['torch-neuronx']} --verbose info"
    }
    assert tracer_tools(Tracing()) == {}
