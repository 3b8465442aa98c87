from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import s3


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server on loopback."""
    with s3.server(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket, and an environment in which it means that server."""
    for name, value in s3.environment(endpoint).items():
        monkeypatch.setenv(name, value)
    return s3.make_bucket(endpoint)
