from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts.errors import RunError
from artifacts.host_cache import CACHE_VARIABLE, RECORD_FILE, cache_root, cached_folder
from tests.support.models import PROJECT

FILES = {"a.bin": b"one" * 100, "b.bin": b"two"}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


class Maker:
    """Fills a folder, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, folder: Path) -> None:
        self.count += 1
        for name, data in FILES.items():
            (folder / name).write_bytes(data)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != RECORD_FILE}


def test_a_folder_is_made_once(root: Path) -> None:
    make = Maker()
    folders = {cached_folder("kind", "key", make) for _ in range(3)}
    assert folders == {root / "kind" / "key"}
    assert contents(*folders) == FILES
    assert make.count == 1
    cached_folder("kind", "other", make)
    assert make.count == 2


def flip(folder: Path) -> None:
    data = bytearray((folder / "a.bin").read_bytes())
    data[7] ^= 1
    (folder / "a.bin").write_bytes(bytes(data))


def shorten(folder: Path) -> None:
    (folder / "a.bin").write_bytes(FILES["a.bin"][:-1])


def lose(folder: Path) -> None:
    (folder / "b.bin").unlink()


def add(folder: Path) -> None:
    (folder / "c.bin").touch()


def link(folder: Path) -> None:
    (folder / "b.bin").rename(folder.parent.parent / "b.bin")
    (folder / "b.bin").symlink_to(folder.parent.parent / "b.bin")


def garble(folder: Path) -> None:
    (folder / RECORD_FILE).write_text("{}")


def forget(folder: Path) -> None:
    (folder / RECORD_FILE).unlink()


@pytest.mark.parametrize("damage", [flip, shorten, lose, add, link, garble, forget])
def test_a_damaged_folder_is_made_again(damage: Callable[[Path], None]) -> None:
    make = Maker()
    folder = cached_folder("kind", "key", make)
    damage(folder)
    assert cached_folder("kind", "key", make) == folder
    assert make.count == 2
    assert contents(folder) == FILES


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ValueError("no")])
def test_what_fails_leaves_nothing(root: Path, error: Exception) -> None:
    def fail(folder: Path) -> None:
        (folder / "a.bin").write_bytes(b"half")
        raise error

    with pytest.raises((RunError, ValueError)) as caught:
        cached_folder("kind", "key", fail)
    assert not list((root / "kind").iterdir())
    if isinstance(caught.value, RunError):
        assert "No space left" in str(caught.value)
        assert "free some space" in caught.value.problems[0].hint
    assert contents(cached_folder("kind", "key", Maker())) == FILES


def test_a_cache_that_cannot_be_written_says_which_variable_names_another(root: Path) -> None:
    root.write_text("a file where a folder should be")
    with pytest.raises(RunError, match="cannot be used") as caught:
        cached_folder("kind", "key", Maker())
    assert CACHE_VARIABLE in caught.value.problems[0].hint


@pytest.mark.parametrize("which", ["kind", "kind/key"])
def test_what_others_can_write_is_refused(root: Path, which: str) -> None:
    cached_folder("kind", "key", Maker())
    (root / which).chmod(0o777)
    with pytest.raises(RunError, match="can be written by other users"):
        cached_folder("kind", "key", Maker())


def test_a_whole_folder_needs_no_writing(root: Path) -> None:
    folder = cached_folder("kind", "key", Maker())
    before = {path: path.stat().st_mtime_ns for path in (root / "kind", folder, *folder.iterdir())}
    cached_folder("kind", "key", Maker())
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert list((root / "kind").iterdir()) == [folder]


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "unspool"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "unspool"


SLOW_MAKER = """
import sys, time
from artifacts.host_cache import cached_folder

def make(folder):
    (folder / "a.bin").write_bytes(b"a" * 1000)
    print("begun", flush=True)
    time.sleep(float(sys.argv[1]))

cached_folder("kind", "key", make)
print("done", flush=True)
"""


def started(seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW_MAKER, str(seconds)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def test_of_processes_at_once_one_makes_it_and_the_others_wait() -> None:
    makers = [started(0.3) for _ in range(3)]
    printed = [maker.communicate()[0].split() for maker in makers]
    assert sorted(printed) == [["begun", "done"], ["done"], ["done"]]


def test_a_killed_maker_leaves_nothing_that_is_used(root: Path) -> None:
    with started(60) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "begun\n"
        maker.send_signal(signal.SIGKILL)
    assert [path.name[:5] for path in (root / "kind").iterdir()] == [".key."]
    make = Maker()
    folder = cached_folder("kind", "key", make)
    assert (make.count, contents(folder)) == (1, FILES)
    assert list((root / "kind").iterdir()) == [folder]
