from __future__ import annotations

import ctypes
import errno
from pathlib import Path

import pytest

from artifacts import swap


@pytest.fixture(params=["renameat2", "none"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the system call, and where the C library does not have it."""
    if request.param == "none":
        monkeypatch.setattr(swap, "_function", lambda: None)
    return str(request.param)


def folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "f").write_text(content)
    return path


def test_exchange_swaps_both_or_says_that_it_cannot(tmp_path: Path, kernel: str) -> None:
    left, right = folder(tmp_path / "left", "l"), folder(tmp_path / "right", "r")
    done = swap.exchange(left, right)
    assert done == (kernel == "renameat2")
    assert ((left / "f").read_text(), (right / "f").read_text()) == (("r", "l") if done else ("l", "r"))


def test_exchange_with_nothing_is_an_error(tmp_path: Path) -> None:
    left = folder(tmp_path / "left", "l")
    with pytest.raises(FileNotFoundError):
        swap.exchange(left, tmp_path / "absent")
    assert (left / "f").read_text() == "l"


def test_rename_to_new_moves(tmp_path: Path, kernel: str) -> None:
    swap.rename_to_new(folder(tmp_path / "a", "a"), tmp_path / "b")
    assert (tmp_path / "b" / "f").read_text() == "a"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("there", ["folder", "empty folder", "file", "dangling link"])
def test_rename_to_new_replaces_nothing(tmp_path: Path, kernel: str, there: str) -> None:
    source, target = folder(tmp_path / "a", "a"), tmp_path / "b"
    match there:
        case "folder":
            folder(target, "b")
        case "empty folder":
            target.mkdir()
        case "file":
            target.write_text("b")
        case _:
            target.symlink_to(tmp_path / "absent")
    with pytest.raises(FileExistsError):
        swap.rename_to_new(source, target)
    assert (source / "f").read_text() == "a"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_without_the_call_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(swap, "_function", lambda: lambda *_: -1)
    monkeypatch.setattr(ctypes, "get_errno", lambda: number)
    left, right = folder(tmp_path / "left", "l"), folder(tmp_path / "right", "r")
    assert not swap.exchange(left, right)
    swap.rename_to_new(left, tmp_path / "new")
    assert (tmp_path / "new" / "f").read_text() == "l"
