from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.draft_file import draft_file
from artifacts.errors import BundleError


def write(path: Path, data: bytes, *, force: bool = False) -> None:
    with draft_file(path, "pack", force=force) as file:
        file.write(data)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    with draft_file(tmp_path / "f", "pack") as file:
        file.write(b"one")
        (draft,) = names(tmp_path)
        assert draft.startswith(".f.unspool-")
    assert names(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"one"


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"one")

    def interrupted() -> None:
        with draft_file(tmp_path / "f", "pack", force=True) as file:
            file.write(b"two")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"one"


def test_a_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    write(tmp_path / "f", b"one")
    with pytest.raises(BundleError, match="already there") as caught:
        write(tmp_path / "f", b"two")
    assert "--force" in caught.value.problems[0].hint
    assert (tmp_path / "f").read_bytes() == b"one"
    write(tmp_path / "f", b"two", force=True)
    assert (tmp_path / "f").read_bytes() == b"two"
    assert names(tmp_path) == ["f"]


def test_a_file_that_appears_meanwhile_stays(tmp_path: Path) -> None:

    def late() -> None:
        with draft_file(tmp_path / "f", "pack") as file:
            file.write(b"two")
            (tmp_path / "f").write_bytes(b"one")

    with pytest.raises(BundleError, match="already there"):
        late()
    assert (tmp_path / "f").read_bytes() == b"one"
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("what", ["folder", "link", "device", "root", "above"])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, what: str) -> None:
    place = {"device": Path("/dev/null"), "root": Path("/"), "above": tmp_path / ".."}.get(what, tmp_path / "f")
    if what == "folder":
        place.mkdir()
    if what == "link":
        (tmp_path / "g").write_bytes(b"one")
        place.symlink_to("g")
    with pytest.raises(BundleError, match="not a regular file"):
        write(place, b"two", force=True)


@pytest.mark.parametrize("place", ["absent/f", "file/f", "n" * 300])
def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match="cannot be written") as caught:
        write(tmp_path / place, b"two")
    assert len(caught.value.problems) == 1
    assert names(tmp_path) == ["file"]


def test_only_drafts_of_this_file_that_nobody_holds_are_removed(tmp_path: Path) -> None:
    stale, keep = ".f.unspool-1-0123abcd", [".f.unspool-notes", ".g.unspool-1-0123abcd", "f.unspool-1-0123abcd"]
    for name in (stale, *keep):
        (tmp_path / name).write_bytes(b"")
    with draft_file(tmp_path / "f", "pack") as slow:
        held = set(names(tmp_path)) - {stale, *keep}
        assert stale not in names(tmp_path)
        write(tmp_path / "f", b"quick")
        assert held <= set(names(tmp_path))
        (tmp_path / "f").unlink()
        slow.write(b"slow")
    assert names(tmp_path) == sorted([*keep, "f"])
