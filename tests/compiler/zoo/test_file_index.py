from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.zoo import file_index
from compiler.zoo.file_index import FileIndex, mark_of
from compiler.zoo.ledger import Ledger


class Reads:
    """Counts the files that are read to be digested."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[Path] = []
        monkeypatch.setattr(file_index, "sha256_file", self)

    def __call__(self, path: Path) -> str:
        self.paths.append(path)
        return sha256(path.read_bytes())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "zoo.sqlite", create=True) as found:
        yield found


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def old(path: Path, data: bytes, seconds: int = 1000) -> Path:
    """A file that was written long ago."""
    path.write_bytes(data)
    os.utime(path, (seconds, seconds))
    return path


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path, ledger: Ledger, reads: Reads) -> None:
    path, index = old(tmp_path / "f", b"one"), FileIndex.of(ledger)
    assert index.digest(path) == index.digest(path) == sha256(b"one")
    index.save(ledger)
    assert (index.digest(path), index.new) == (sha256(b"one"), {})
    assert FileIndex.of(ledger).digest(path) == sha256(b"one"), "nor by another process"
    assert reads.paths == [path]


@pytest.mark.parametrize("saved", [False, True])
def test_a_file_of_another_size_time_or_inode_is_read_again(
    tmp_path: Path, ledger: Ledger, reads: Reads, saved: bool
) -> None:
    path, index = old(tmp_path / "f", b"one"), FileIndex.of(ledger)

    def digest() -> str:
        found = index.digest(path)
        if saved:
            index.save(ledger)
        return found

    digest()
    old(path, b"other")
    assert digest() == sha256(b"other"), "another size"
    old(path, b"OTHER", 1001)
    assert digest() == sha256(b"OTHER"), "another time"
    old(tmp_path / "g", b"third", 1001).replace(path)
    assert digest() == sha256(b"third"), "another inode"
    assert len(reads.paths) == 4
    if saved:
        assert FileIndex.of(ledger).known[str(path)] == (mark_of(path.stat()), sha256(b"third"))


def test_a_file_that_was_just_written_is_not_trusted(tmp_path: Path, ledger: Ledger, reads: Reads) -> None:
    path, index = tmp_path / "f", FileIndex.of(ledger)
    path.write_bytes(b"one")
    mark = mark_of(path.stat())
    index.digest(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(mark[1], mark[1]))
    assert mark_of(path.stat()) == mark, "as of a file that is written twice in one tick of its clock"
    assert index.digest(path) == sha256(b"two")
    index.save(ledger)
    assert FileIndex.of(ledger).known == {}


def test_a_time_that_is_yet_to_come_is_not_trusted(tmp_path: Path, ledger: Ledger, reads: Reads) -> None:
    path, index = old(tmp_path / "f", b"one", int(time.time()) + 3600), FileIndex.of(ledger)
    index.digest(path)
    index.digest(path)
    assert len(reads.paths) == 2


def test_a_file_that_changes_while_it_is_read_is_not_trusted(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, index = old(tmp_path / "f", b"one"), FileIndex.of(ledger)

    def read_and_changed(found: Path) -> str:
        data = found.read_bytes()
        old(path, b"changed")
        return sha256(data)

    monkeypatch.setattr(file_index, "sha256_file", read_and_changed)
    index.digest(path)
    assert index.new == {}


def test_one_file_by_two_paths(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, reads: Reads) -> None:
    path, index = old(tmp_path / "f", b"one"), FileIndex.of(ledger)
    monkeypatch.chdir(tmp_path)
    assert index.digest(Path("f")) == index.digest(path)
    assert len(reads.paths) == 1
    (tmp_path / "link").symlink_to(path)
    assert index.digest(tmp_path / "link") == sha256(b"one")
    old(path, b"other")
    assert index.digest(tmp_path / "link") == sha256(b"other"), "what a link leads to counts"


def test_a_file_that_is_gone_is_an_error_of_the_system(tmp_path: Path, ledger: Ledger) -> None:
    path, index = old(tmp_path / "f", b"one"), FileIndex.of(ledger)
    index.digest(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        index.digest(path)
