"""What of a Neuron SDK is found, and that what only has its names is not taken for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import compiler.neuron.probe
from compiler.neuron.bounded_run import Ended
from compiler.neuron.probe import Compiler, NoCompiler, import_fault, probe
from tests.support.neuronx_cc import VERSION, WRONG_PACKAGE, Install, Way
from tests.support.processes import gone


def add_package(folder: Path, name: str, version: str, code: str) -> None:
    """A package as pip would have left it: a module, and what metadata says."""
    module = name.replace("-", "_")
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").write_text(code)
    facts = folder / f"{module}-{version}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


PLACEHOLDER = f'raise ImportError("{WRONG_PACKAGE}")\n'


@pytest.fixture
def placeholders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PyPI's packages, installed."""
    folder = tmp_path / "packages"
    for name, version in (("torch-neuronx", "1.0"), ("libneuronxla", "1.0"), ("neuronx-cc", "1.0.post1")):
        add_package(folder, name, version, PLACEHOLDER)
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH on which nothing is."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def test_a_compiler_that_answers_is_one(double: Install) -> None:
    seen = double("success")
    assert probe().compiler == Compiler(path=str(seen.program), version=VERSION)
    assert gone(int(seen.saw("pid")))


def test_a_newer_compiler_is_not_refused(double: Install) -> None:
    double("newer")
    found = probe().compiler
    assert isinstance(found, Compiler)
    assert found.version == "3.0.1.0+abcdef01"


@pytest.mark.parametrize(
    ("way", "reason", "why"),
    [
        ("placeholder", "placeholder", "{} is PyPI's placeholder and not the SDK's"),
        ("mute", "no-answer", "{} --version did not answer within 4 seconds"),
        ("failing", "no-answer", "{} --version ended with status 1: ModuleNotFoundError: No module named 'numpy'"),
        ("foreign", "foreign", "{} --version gives no version of Neuron's compiler: neuronx 3.1, a library of"),
        ("old", "too-old", "{} is of version 2.15.128.0+56dc5a86, needed is 2.16 or later"),
    ],
)
def test_what_is_no_compiler_to_use_is_told(double: Install, way: Way, reason: str, why: str) -> None:
    seen = double(way)
    found = probe(seconds=4.0 if way == "mute" else 60.0).compiler
    assert isinstance(found, NoCompiler)
    assert (found.reason, found.path) == (reason, str(seen.program))
    assert found.why.startswith(why.format(seen.program))
    assert gone(int(seen.saw("pid")))


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("NeuronX Compiler version 2.27.5334.0+f702b353\n\nPython version 3.13.7\n", "2.27.5334.0+f702b353"),
        ("Some warning\nNeuronX Compiler version 2.16.345.0\n", "2.16.345.0"),
        ("NeuronX Compiler version two\n", None),
        ("It is not a NeuronX Compiler version 2.27.0 thing\n", None),
        ("2.27.5334.0", None),
        ("", None),
    ],
)
def test_a_version_is_what_the_compiler_says_and_nothing_else(
    bare: None, monkeypatch: pytest.MonkeyPatch, said: str, version: str | None
) -> None:
    monkeypatch.setattr(compiler.neuron.probe, "_run", lambda *_: Ended(0, said))
    found = compiler.neuron.probe._asked("/bin/neuronx-cc", 1.0)
    assert (found.version if isinstance(found, Compiler) else None) == version


def test_nothing_is_here(bare: None) -> None:
    sdk = probe()
    assert sdk.compiler == NoCompiler(reason="absent", why="neuronx-cc is not on PATH")


def test_placeholders_are_not_taken_for_the_sdk(bare: None, placeholders: Path) -> None:
    sdk = probe()
    assert sdk.packages == {"neuronx-cc": "1.0.post1", "torch-neuronx": "1.0", "libneuronxla": "1.0"}
    assert isinstance(sdk.compiler, NoCompiler)
    assert sdk.compiler.reason == "placeholder"
    assert "1.0.post1 is PyPI's placeholder" in sdk.compiler.why
    assert not {"torch_neuronx", "libneuronxla", "neuronx_cc"} & set(sys.modules)


def test_a_package_without_its_program_on_path_is_absent(
    bare: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_package(tmp_path / "packages", "neuronx-cc", "2.10.0.34+6c8792c6f", "")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    sdk = probe()
    assert sdk.packages == {"neuronx-cc": "2.10.0.34+6c8792c6f"}
    assert sdk.compiler == NoCompiler(reason="absent", why="neuronx-cc is not on PATH")


def test_a_program_beside_the_interpreter_is_pointed_to(
    bare: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "neuronx-cc").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "of-this-test-alone"))
    found = probe().compiler
    assert isinstance(found, NoCompiler)
    assert found.why == f"neuronx-cc is not on PATH; add {tmp_path / 'venv'} to it"


def test_a_module_is_imported_elsewhere(placeholders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_package(tmp_path / "more", "torch-fine", "2.9", "print('here')")
    add_package(tmp_path / "more", "torch-broken", "2.9", "import nothing_of_the_kind")
    add_package(tmp_path / "more", "torch-slow", "2.9", "import time; time.sleep(600)")
    monkeypatch.syspath_prepend(str(tmp_path / "more"))
    assert import_fault("torch_fine") == ""
    assert import_fault() == (
        "torch_neuronx is PyPI's placeholder and not the SDK's, which is on the package index that AWS names in its"
        " guide to installing the Neuron SDK"
    )
    assert import_fault("torch_broken") == (
        "torch_broken cannot be imported: ModuleNotFoundError: No module named 'nothing_of_the_kind'"
    )
    assert import_fault("torch_slow", seconds=1.0) == "torch_slow was not imported within 1 seconds"
    assert not {name for name in sys.modules if name.startswith("torch_") and "neuron" in name}


def test_the_compiler_is_asked_once(double: Install) -> None:
    seen = double("success")
    first = probe()
    (seen.traces / "pid").unlink()
    assert probe() is first
    assert not (seen.traces / "pid").exists()
