from __future__ import annotations

import pytest

from tests.support.models import BundleCache


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> BundleCache:
    return BundleCache.of(tmp_path_factory)
