from __future__ import annotations

import threading
from pathlib import Path

import pytest

from artifacts.errors import UsageError
from compiler.zoo.build import Place


def test_one_build_at_a_time(tmp_path: Path) -> None:
    with Place.opened(tmp_path / "deep" / "out") as place:
        assert place.store == str(tmp_path / "deep" / "out" / "store")
        with pytest.raises(UsageError, match="another build is at work here"), Place.opened(place.root):
            pass
    with Place.opened(place.root, "s3://bucket/zoo") as again:
        assert again.store == "s3://bucket/zoo"


def test_who_waits_comes_after(tmp_path: Path) -> None:
    order: list[str] = []

    def wait() -> None:
        with Place.opened(tmp_path, waits=True):
            order.append("waited")

    with Place.opened(tmp_path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        order.append("built")
    waiting.join()
    assert order == ["built", "waited"]


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="cannot be used: File exists"), Place.opened(tmp_path / "out"):
        pass
    with pytest.raises(UsageError, match="is not there"), Place.opened(tmp_path / "none", create=False):
        pass
