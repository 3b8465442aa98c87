"""The target with a double of its compiler on PATH: however that ends, nothing that looks compiled is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("jax")

from artifacts.errors import TargetError
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile
from tests.support.neuronx_cc import Install, Way

OPTIONS = CompileOptions(target="neuronx", opt_shapes=(("x", (4, 16)),))


@pytest.fixture(autouse=True)
def _no_folder_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch would make one for TorchInductor, as it is imported: see `compiler/cli/main.py`."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", os.sep)


@pytest.mark.usefixtures("compiler")
def test_a_doubles_output_never_lands_in_a_bundle(perceptron_file: Path, tmp_path: Path) -> None:
    """It reads back whole, and says what it is."""
    with pytest.raises(TargetError, match="is a fixture, and no NEFF"):
        compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "b", OPTIONS)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("code", "NCC_"),
        ("hang", "within"),
        ("killed", "memory"),
        ("cut", "cut"),
        ("nothing", "left no model.neff"),
    ],
)
def test_a_compiler_that_fails_makes_no_bundle(
    double: Install, way: Way, said: str, perceptron_file: Path, tmp_path: Path
) -> None:
    double(way)
    with pytest.raises(TargetError) as caught:
        compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "b", OPTIONS, seconds=2.0)
    (problem,) = caught.value.problems
    assert problem.subject == "engine perceptron"
    assert said in problem.message + problem.hint
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("way", ["old", "placeholder"])
def test_what_is_no_compiler_leaves_the_proven_source(
    double: Install, way: Way, perceptron_file: Path, tmp_path: Path
) -> None:
    double(way)
    manifest = compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "b", OPTIONS).bundle.manifest
    assert manifest.engines["perceptron"].status == "hlo-verified"
