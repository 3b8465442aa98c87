"""NEFFs of the sources that a bundle carries, as far as a double of the compiler goes: never into a bundle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jax")

from artifacts.bundle import Bundle
from artifacts.errors import BundleError, TargetError, UsageError
from artifacts.manifest import WeightAccess
from artifacts.neuron_options import NeuronOptions
from compiler.compile import compile_bundle
from compiler.emit import Anew, emit_bundle
from compiler.options import CompileOptions, Existing, ModelFile
from compiler.targets import find_target, neuronx
from compiler.targets.target import Made, PlanMaker, PlanSource
from tests.compiler.neuron.conftest import RECORDED
from tests.support.cli import unspool, unspool_process
from tests.support.neuronx_cc import Double, Install


@pytest.fixture(autouse=True)
def _no_folder_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch would make one for TorchInductor, as it is imported: see `compiler/cli/main.py`."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", os.sep)


@pytest.fixture
def sources(recorded_sources: Path) -> Path:
    return recorded_sources


@pytest.fixture
def seen(double: Install) -> Double:
    return double("success")


def refused(sources: Path, destination: Path, **anew: Any) -> None:
    """Emit with the double, whose output is refused, and nothing is left."""
    with pytest.raises(TargetError, match="is a fixture, and no NEFF"):
        emit_bundle(sources, "neuronx", destination, anew=Anew(**anew))
    assert not destination.exists()


def test_the_bundle_says_how_its_engines_are_compiled(sources: Path, seen: Double, tmp_path: Path) -> None:
    (engine,) = Bundle.open(sources).manifest.engines.values()
    assert engine.build == RECORDED
    refused(sources, tmp_path / "b")
    assert "--target trn2" in seen.saw("arguments")
    assert "--auto-cast all --auto-cast-type fp16 --optlevel 2 --logical-nc-config 2" in seen.saw("arguments")
    assert seen.saw("source") == Bundle.open(sources).path_of(engine.source).read_text("latin-1")


def test_inspect_shows_it(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = unspool(capsys, "inspect", sources).stdout
    flags = "--neuron-target trn2 --model-type generic --auto-cast all --auto-cast-type fp16 --optlevel 2"
    assert f"{flags} --logical-nc-config 2" in shown


def test_flags_are_given_anew(sources: Path, seen: Double, tmp_path: Path) -> None:
    refused(sources, tmp_path / "b", neuron={"target": "inf2", "auto_cast": "none", "optlevel": 3})
    assert "--target inf2 --model-type generic --auto-cast none --optlevel 3 --output" in seen.saw("arguments")


def test_its_time_is_limited(sources: Path, double: Install, tmp_path: Path) -> None:
    double("hang")
    with pytest.raises(TargetError, match=r"did not end within 1\.5 seconds"):
        emit_bundle(sources, "neuronx", tmp_path / "b", anew=Anew(seconds=1.5))


def test_what_a_neff_becomes_of(sources: Path, seen: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory alone, as if the double's output were one."""
    monkeypatch.setattr(neuronx, "_FIXTURE", "said by nobody")
    target = find_target("neuronx")
    assert isinstance(target, PlanMaker)
    assert target.builder().usable
    source = PlanSource((sources / "engines" / "perceptron.hlo.pb").read_bytes(), RECORDED)
    made = target.plans({"perceptron": source}, tmp_path).engines["perceptron"]
    assert (made.status, made.suffix, made.build) == ("built", ".neff", RECORDED)
    assert made.plan is not None
    assert made.needs[0].what == "an AWS instance with trn2 cores"
    assert str(seen.program) not in made.needs[0].command


def test_neither_torch_nor_jax_nor_the_model_is_needed(sources: Path, seen: Double, tmp_path: Path) -> None:
    blocked = ("torch", "jax", "jaxlib", "onnx", "onnx_ir", "onnxruntime", "ml_dtypes", "sympy")
    call = ("emit", "--from", sources, "--target", "neuronx", "-o", tmp_path / "b", "--optlevel", "1", "--json")
    found = unspool_process(*call, blocked=blocked)
    assert (found.status, found.error["message"].split(": ", 1)[1]) == (1, "what it wrote is a fixture, and no NEFF")
    assert "--optlevel 1" in seen.saw("arguments")


def test_without_the_compiler_nothing_is_made(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = unspool(capsys, "emit", "--from", sources, "--target", "neuronx", "-o", tmp_path / "b", "--json")
    assert (found.status, found.error["message"]) == (1, "is not usable on this machine")
    assert "neuronx-cc is not on PATH" in found.error["hint"]
    assert not (tmp_path / "b").exists()


@pytest.mark.usefixtures("seen")
def test_what_means_nothing_is_told_at_once(sources: Path, perceptron_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        emit_bundle(sources, "tensorrt", tmp_path / "b", anew=Anew(neuron={"optlevel": 1}, seconds=9.0))
    assert [problem.subject for problem in caught.value.problems] == ["--optlevel", "--compiler-timeout"]
    with pytest.raises(UsageError, match="builds for no GPU"):
        emit_bundle(sources, "neuronx", tmp_path / "b", anew=Anew(capabilities=("sm86",)))
    with pytest.raises(UsageError, match="whose source is for another one's builder"):
        emit_bundle(sources, "tensorrt", tmp_path / "b")
    with pytest.raises(UsageError, match="whose source is for no builder of plans"):
        emit_bundle(perceptron_bundle, "neuronx", tmp_path / "b")
    with pytest.raises(UsageError, match="inf2 has no logical cores") as caught:
        emit_bundle(sources, "neuronx", tmp_path / "b", anew=Anew(neuron={"target": "inf2", "logical_nc_config": 1}))
    assert caught.value.problems[0].subject == "--logical-nc-config"


@pytest.mark.usefixtures("seen")
def test_a_bundle_of_other_flags_in_the_environment_is_not_up_to_date(
    perceptron_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler is here; what it would make is left out."""
    left_out = Made("emitted", WeightAccess(default="separate", ways={"separate": "nothing"}), build=NeuronOptions())
    monkeypatch.setattr(neuronx, "_made", lambda *_: left_out)
    models = [ModelFile("perceptron", perceptron_file)]
    options = CompileOptions(target="neuronx", opt_shapes=(("x", (4, 16)),))
    compile_bundle(models, tmp_path / "b", options)
    assert compile_bundle(models, tmp_path / "b", options).up_to_date
    monkeypatch.setenv("NEURON_CC_FLAGS", "--verbose debug")
    with pytest.raises(BundleError, match="made from other inputs or options"):
        compile_bundle(models, tmp_path / "b", options)
    rebuilt = compile_bundle(models, tmp_path / "b", options, existing=Existing.REMAKE).bundle
    assert rebuilt.manifest.tools["neuronx-cc"].endswith(" --verbose debug")
