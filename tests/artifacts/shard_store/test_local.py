"""What several processes on one folder see of each other, at the steps where it was seen to go wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.shard_store import local
from artifacts.shard_store.collect import collect
from artifacts.shard_store.local import WRITERS, LocalFiles
from artifacts.shard_store.store import ShardStore


def test_an_announcement_appears_whole_and_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed writer may look alive for a moment after it let others collect: half of its needs would be an error."""
    files, write, seen = LocalFiles(tmp_path), local._write, []

    def slowly(descriptor: int, data: memoryview) -> None:
        write(descriptor, data[:3])
        seen.append(list(files.announced()))
        write(descriptor, data[3:])

    monkeypatch.setattr(local, "_write", slowly)
    with files.announce(f"{WRITERS}/1.json", b"needs"):
        (announcement,) = files.announced()
        assert (announcement.data, announcement.is_live) == (b"needs", True)
    assert seen == [[]]
    assert not list(files.announced())
    assert not list(files.list(local.DRAFTS))


def test_a_store_that_two_make_at_once_is_there_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is first may collect before the other has put its mark in place."""
    write = local._write

    def overtaken(descriptor: int, data: memoryview) -> None:
        monkeypatch.setattr(local, "_write", write)
        collect(ShardStore.open(tmp_path / "store", create=True))
        write(descriptor, data)

    monkeypatch.setattr(local, "_write", overtaken)
    store = ShardStore.open(tmp_path / "store", create=True)
    assert not list(store.claims())
