from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.options import CompileOptions, ModelFile
from tests.support.models import BundleCache, perceptron, saved, toy_decoder

TOY_TOKENS = TokenFlags(start=1, eos=(3, 4), pad=0, max_new_tokens=9)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> BundleCache:
    return BundleCache.of(tmp_path_factory)


@pytest.fixture(scope="session")
def perceptron_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model that most commands are tried with. Read-only."""
    return saved(perceptron(), tmp_path_factory.mktemp("perceptron") / "perceptron.onnx")


@pytest.fixture(scope="session")
def perceptron_bundle(cache: BundleCache, perceptron_file: Path) -> Path:
    return cache.compiled("perceptron", perceptron_file)


@pytest.fixture
def perceptron_copy(perceptron_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle to damage or replace."""
    return Path(shutil.copytree(perceptron_bundle, tmp_path / "copy"))


@pytest.fixture(scope="session")
def toy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder in one graph. Read-only."""
    return saved(toy_decoder(), tmp_path_factory.mktemp("toy") / "toy.onnx")


@pytest.fixture(scope="session")
def toy_bundle(cache: BundleCache, toy_file: Path) -> Path:
    """The toy decoder, which decodes as TOY_TOKENS say."""
    options = CompileOptions(tokens=TOY_TOKENS)
    return cache.get("toy", lambda bundle: compile_bundle([ModelFile("toy", toy_file)], bundle, options))


@pytest.fixture(scope="session")
def pair_bundle(cache: BundleCache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, `one` and `two`, in one bundle."""
    folder = tmp_path_factory.mktemp("pair")
    files = [
        ModelFile(name, saved(perceptron(seed), folder / f"{name}.onnx")) for seed, name in enumerate(("one", "two"))
    ]
    return cache.get("pair", lambda bundle: compile_bundle(files, bundle, CompileOptions()))
