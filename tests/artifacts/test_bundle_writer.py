from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from artifacts import bundle_writer
from artifacts.bundle import Bundle
from artifacts.bundle_writer import BundleWriter, write_bundle
from artifacts.canonical import sha256_file
from artifacts.errors import BundleError
from tests.support import bundles
from tests.support.bundles import REPORT, Model

ROOT = Path(__file__).parents[2]

ONE: dict[str, Model] = {"m": bundles.linear(seed=1)}
TWO: dict[str, Model] = {"m": bundles.linear(seed=2)}


@pytest.fixture(params=["exchange", "aside"])
def swap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the kernel can exchange two folders, and where it cannot."""
    if request.param == "aside":
        monkeypatch.setattr(bundle_writer, "exchange", lambda *_: False)
    return str(request.param)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_bundle_appears_whole_and_alone(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "b") as writer:
        manifest = bundles.fill(writer, ONE)
        assert names(tmp_path) == [writer.root.name]
        assert writer.root.name.startswith(f".b.unspool-{os.getpid()}-")
        bundle = writer.commit(manifest, REPORT)
    assert names(tmp_path) == ["b"]
    assert Bundle.open(tmp_path / "b") == bundle
    assert bundle.root == tmp_path / "b"
    assert bundle.manifest == manifest


def test_the_same_content_in_another_place_has_the_same_bytes(tmp_path: Path) -> None:
    first, second = bundles.write(tmp_path / "a", ONE), bundles.write(tmp_path / "deep" / "er" / "b", ONE)
    assert tree(first.root) == tree(second.root)


def test_files_and_folders_are_as_readable_as_any(tmp_path: Path) -> None:
    bundle = bundles.write(tmp_path / "b", ONE)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for path in (bundle.root, *bundle.root.rglob("*")):
        like = tmp_path / ("folder" if path.is_dir() else "file")
        assert path.stat().st_mode == like.stat().st_mode, path


def test_without_a_commit_nothing_stays(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "new" / "parent" / "b") as writer:
        bundles.fill(writer, ONE)
    assert names(tmp_path) == []


def test_an_error_in_the_block_passes_through_and_nothing_stays(tmp_path: Path) -> None:
    def build(error: BaseException) -> None:
        with write_bundle(tmp_path / "b") as writer:
            writer.add("engines/e", b"x")
            raise error

    for error in (ValueError("x"), KeyboardInterrupt(), FileNotFoundError(errno.ENOENT, "x", "/elsewhere")):
        with pytest.raises(type(error)) as caught:
            build(error)
        assert caught.value is error
        assert names(tmp_path) == []


def test_an_existing_bundle_stays_unless_forced(tmp_path: Path, swap: str) -> None:
    bundles.write(tmp_path / "b", ONE)
    before = tree(tmp_path)
    with pytest.raises(BundleError, match="already there") as caught:
        bundles.write(tmp_path / "b", TWO)
    assert "--force" in caught.value.problems[0].hint
    assert tree(tmp_path) == before
    replaced = bundles.write(tmp_path / "b", TWO, force=True)
    assert Bundle.open(tmp_path / "b") == replaced
    assert names(tmp_path) == ["b"]


def test_a_failed_build_leaves_the_old_bundle(tmp_path: Path, swap: str) -> None:
    bundle = bundles.write(tmp_path / "b", ONE)

    def build() -> None:
        with write_bundle(tmp_path / "b", force=True) as writer:
            bundles.fill(writer, TWO)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        build()
    assert Bundle.open(tmp_path / "b") == bundle
    assert names(tmp_path) == ["b"]


def test_a_second_rename_that_fails_puts_the_old_bundle_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundles.write(tmp_path / "b", ONE)

    def fail(source: Path, destination: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(destination))

    monkeypatch.setattr(bundle_writer, "exchange", lambda *_: False)
    monkeypatch.setattr(bundle_writer, "rename_to_new", fail)
    with pytest.raises(BundleError, match="Input/output error"):
        bundles.write(tmp_path / "b", TWO, force=True)
    assert Bundle.open(tmp_path / "b") == bundle
    assert names(tmp_path) == ["b"]


def occupy(place: Path, what: str) -> None:
    match what:
        case "file":
            place.write_text("mine")
        case "folder":
            place.mkdir()
            (place / "thesis.tex").write_text("mine")
        case "empty folder":
            place.mkdir()
        case "a manifest of something else":
            place.mkdir()
            (place / "manifest.json").write_text('{"files": {}}')
        case "a manifest that is no JSON":
            place.mkdir()
            (place / "manifest.json").write_text("{")
        case "link to a bundle":
            bundles.write(place.with_name("other"), ONE)
            place.symlink_to("other")
        case "dangling link":
            place.symlink_to("absent")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "what",
    [
        "file",
        "folder",
        "empty folder",
        "a manifest of something else",
        "a manifest that is no JSON",
        "link to a bundle",
        "dangling link",
    ],
)
def test_what_is_not_a_bundle_is_never_overwritten(tmp_path: Path, what: str, force: bool) -> None:
    occupy(tmp_path / "b", what)
    before = (names(tmp_path), tree(tmp_path))
    with pytest.raises(BundleError, match="exists and is not a bundle"):
        bundles.write(tmp_path / "b", TWO, force=force)
    assert (names(tmp_path), tree(tmp_path)) == before


def test_a_bundle_in_which_someone_keeps_files_is_never_overwritten(tmp_path: Path) -> None:
    bundles.write(tmp_path / "b", ONE)
    for name in "wxyz":
        (tmp_path / "b" / f"notes-{name}").write_text("mine")
    with pytest.raises(BundleError, match="notes-w, notes-x, notes-y and 1 more"):
        bundles.write(tmp_path / "b", TWO, force=True)
    assert (tmp_path / "b" / "notes-z").read_text() == "mine"


def test_a_bundle_of_another_schema_version_can_be_replaced(tmp_path: Path) -> None:
    bundle = bundles.write(tmp_path / "b", ONE)
    manifest = bundle.manifest.to_bytes().replace(b'"schema_version":6', b'"schema_version":1')
    (bundle.root / "manifest.json").write_bytes(manifest)
    assert bundles.write(tmp_path / "b", TWO, force=True) == Bundle.open(tmp_path / "b")


@pytest.mark.parametrize("force", [False, True])
def test_what_appears_during_the_build_is_not_overwritten(tmp_path: Path, force: bool) -> None:
    def build() -> None:
        with write_bundle(tmp_path / "b", force=force) as writer:
            manifest = bundles.fill(writer, ONE)
            occupy(tmp_path / "b", "folder")
            writer.commit(manifest, REPORT)

    with pytest.raises(BundleError, match="is not a bundle"):
        build()
    assert names(tmp_path) == ["b"]
    assert names(tmp_path / "b") == ["thesis.tex"]


def test_of_two_builds_the_first_to_finish_stays(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "b") as slow:
        manifest = bundles.fill(slow, ONE)
        first = bundles.write(tmp_path / "b", TWO)
        with pytest.raises(BundleError, match="already there"):
            slow.commit(manifest, REPORT)
    assert Bundle.open(tmp_path / "b") == first
    assert names(tmp_path) == ["b"]


def test_many_forced_writers_at_once_leave_one_whole_bundle(tmp_path: Path, swap: str) -> None:
    bundles.write(tmp_path / "b", ONE)
    refused: list[BundleError] = []

    def build() -> None:
        try:
            bundles.write(tmp_path / "b", TWO, force=True)
        except BundleError as error:  # in between two renames there is no bundle to replace
            refused.append(error)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) < 4
    Bundle.open(tmp_path / "b")
    with pytest.raises(BundleError, match="already there"):
        bundles.write(tmp_path / "b", ONE)
    assert names(tmp_path) == ["b"]


@pytest.mark.parametrize("late", ["changed", "added", "removed", "linked"])
def test_files_have_to_be_those_of_the_manifest(tmp_path: Path, late: str) -> None:
    with write_bundle(tmp_path / "b") as writer:
        manifest = bundles.fill(writer, ONE)
        engine = writer.root / "engines" / "m-main.onnx"
        match late:
            case "changed":
                engine.write_bytes(engine.read_bytes()[::-1])
            case "added":
                writer.add("engines/more", b"x")
            case "removed":
                engine.unlink()
            case _:
                engine.rename(tmp_path / "e")
                engine.symlink_to(tmp_path / "e")
        with pytest.raises(BundleError, match="engines/"):
            writer.commit(manifest, REPORT)
    assert not (tmp_path / "b").exists()


def test_the_inventory_reads_a_file_again_only_if_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with write_bundle(tmp_path / "b") as writer:
        writer.add("engines/e", b"one")
        first = writer.inventory()
        read: list[Path] = []

        def hashed(path: Path) -> str:
            read.append(path)
            return sha256_file(path)

        monkeypatch.setattr(bundle_writer, "sha256_file", hashed)
        assert writer.inventory() == first
        assert not read
        writer.add("engines/e", b"other")
        assert writer.inventory() != first
        assert read == [writer.root / "engines" / "e"]


# A folder or disk that cannot be written. Tests may run as root, whom permissions do not stop.


@pytest.mark.parametrize("place", ["file/b", "/proc/self/fdinfo/b", "n" * 240])
def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written") as caught:
        bundles.write(tmp_path / place, ONE)
    assert len(caught.value.problems) == 1
    assert names(tmp_path) == ["file"]


def test_a_full_disk_is_one_clear_error_and_nothing_stays(tmp_path: Path, small_disk: None) -> None:
    with pytest.raises(BundleError, match="cannot be written: ") as caught:
        bundles.write(tmp_path / "new" / "b", ONE)  # the weight shard is the first to be too large
    assert len(caught.value.problems) == 1
    with (
        write_bundle(tmp_path / "new" / "b") as writer,
        pytest.raises(BundleError, match="cannot be written: File too large"),
    ):
        writer.add("engines/e", bytes(300))
    assert names(tmp_path) == []


# Processes that die in the middle.

CHILD = """
import sys, time
from pathlib import Path
from artifacts import bundle_writer
from artifacts.bundle import Bundle

def stop(*_, **__):
    print("here", flush=True)
    time.sleep(60)

source, destination, point = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
bundle = Bundle.open(source)
if point == "flushing":
    bundle_writer._sync = stop
if point == "between the renames":
    bundle_writer.exchange = lambda left, right: False
    bundle_writer.rename_to_new = stop
if point == "removing the old":
    bundle_writer.shutil.rmtree = stop
with bundle_writer.write_bundle(destination, force=True) as writer:
    for path in bundle.manifest.files:
        writer.add(path, bundle.path_of(path).read_bytes())
    if point == "filled":
        stop()
    writer.commit(bundle.manifest, bundle.report())
"""


def killed(source: Path, destination: Path, point: str) -> None:
    """Run a writer in a process of its own and kill it at a point."""
    command = [sys.executable, "-c", CHILD, str(source), str(destination), point]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"here\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL


@pytest.mark.parametrize("point", ["filled", "flushing"])
def test_a_killed_writer_leaves_nothing_at_the_destination(tmp_path: Path, linear_bundle: Bundle, point: str) -> None:
    killed(linear_bundle.root, tmp_path / "b", point)
    (left,) = names(tmp_path)
    assert left.startswith(".b.unspool-")
    bundles.write(tmp_path / "other", ONE)
    assert left in names(tmp_path), "another destination's leavings are not ours"
    written = bundles.write(tmp_path / "b", ONE)
    assert names(tmp_path) == ["b", "other"]
    assert Bundle.open(tmp_path / "b") == written


def test_a_writer_killed_between_two_renames_is_undone_by_the_next(tmp_path: Path, linear_bundle: Bundle) -> None:
    old = bundles.write(tmp_path / "b", ONE)
    killed(linear_bundle.root, tmp_path / "b", "between the renames")
    assert not (tmp_path / "b").exists()
    with pytest.raises(BundleError, match="already there"):
        bundles.write(tmp_path / "b", TWO)
    assert Bundle.open(tmp_path / "b") == old
    assert names(tmp_path) == ["b"]


def test_a_writer_killed_after_the_exchange_has_replaced_the_bundle(tmp_path: Path, linear_bundle: Bundle) -> None:
    bundles.write(tmp_path / "b", ONE)
    killed(linear_bundle.root, tmp_path / "b", "removing the old")
    assert Bundle.open(tmp_path / "b").manifest == linear_bundle.manifest
    assert len(names(tmp_path)) == 2
    bundles.write(tmp_path / "b", TWO, force=True)
    assert names(tmp_path) == ["b"]


def test_a_living_writers_folder_is_not_swept(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "b") as slow:
        manifest = bundles.fill(slow, ONE)
        with write_bundle(tmp_path / "b") as quick:
            assert slow.root.is_dir()
            assert quick.root != slow.root
        slow.commit(manifest, REPORT)
    assert names(tmp_path) == ["b"]


def test_only_folders_with_our_names_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".b.unspool-1-0123abcd").mkdir()
    (tmp_path / ".b.unspool-1-0123abcd" / "f").write_text("stale")
    keep = [".b.unspool-notes", ".b.unspool-1-0123abcd.txt", ".c.unspool-1-0123abcd", "b.unspool-1-0123abcd"]
    for name in keep:
        (tmp_path / name).mkdir()
    (tmp_path / ".b.unspool-2-0123abcd").symlink_to(".b.unspool-notes")
    bundles.write(tmp_path / "b", ONE)
    assert names(tmp_path) == sorted([*keep, ".b.unspool-2-0123abcd", "b"])


def test_where_there_are_no_locks_nothing_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    (tmp_path / ".b.unspool-1-0123abcd").mkdir()
    bundles.write(tmp_path / "b", ONE)
    assert names(tmp_path) == [".b.unspool-1-0123abcd", "b"]


def test_a_folder_that_a_sweeper_takes_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = bundle_writer._lock
    taken: list[Path] = []

    def take_first(folder: Path) -> object:
        if not taken:
            taken.append(folder)
            shutil.rmtree(folder)
        return lock(folder)

    monkeypatch.setattr(bundle_writer, "_lock", take_first)
    with write_bundle(tmp_path / "b") as writer:
        assert isinstance(writer, BundleWriter)
        assert taken != [writer.root]
        assert writer.root.is_dir()
