from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from artifacts.bundle import Bundle
from tests.support import bundles
from tests.support.decoders import FORMS, decoder

# A shared machine may be slow for a moment, and a gate gives the same answer twice.
settings.register_profile("gate", deadline=None, derandomize=True)
settings.load_profile("gate")


@pytest.fixture(scope="session")
def linear_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two linear models that share an engine's shape but not its weights. Read-only."""
    models = {"one": bundles.linear(seed=1), "two": bundles.linear(columns=2, seed=2)}
    return bundles.write(tmp_path_factory.mktemp("linear") / "bundle", models)


@pytest.fixture(scope="session")
def decoder_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One decoder in every form, a model each. Read-only."""
    models = {str(form): decoder(form) for form in FORMS}
    return bundles.write(tmp_path_factory.mktemp("decoder") / "bundle", models)


@pytest.fixture
def bundle_copy(linear_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the linear bundle to damage."""
    return Path(shutil.copytree(linear_bundle.root, tmp_path / "bundle"))


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 200 bytes: what writing to a full disk looks like, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
