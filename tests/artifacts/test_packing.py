from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.bundle import Bundle
from artifacts.bundle_writer import write_bundle
from artifacts.errors import BundleError, UsageError
from artifacts.packing import pack, unpack
from artifacts.shard_store.store import ShardStore, stored_path
from artifacts.shard_store.verify import verify
from tests.artifacts.strategies import NAMES
from tests.support import bundles
from tests.support.bundles import REPORT
from tests.support.cli import child_environment


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def packed(linear_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The linear bundle as one file. Read-only."""
    return pack(linear_bundle.root, tmp_path_factory.mktemp("packed") / "bundle.tar").path


SEGMENTS = NAMES | st.integers(90, 200).map(lambda size: "n" * size)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map(lambda segments: "/".join(("more", *segments)))


@settings(max_examples=12)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.dictionaries(PATHS, st.binary(max_size=1500)))
def test_what_is_unpacked_is_what_was_packed(columns: list[int], extra: dict[str, bytes]) -> None:
    extra = {path: data for path, data in extra.items() if not any(other.startswith(f"{path}/") for other in extra)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with write_bundle(folder / "b") as writer:
            models = {f"m{seed}": bundles.linear(size, seed) for seed, size in enumerate(columns)}
            manifest = bundles.fill(writer, models, shard_bytes=64)
            for path, data in extra.items():
                writer.add(path, data)
            writer.commit(manifest.model_copy(update={"files": writer.inventory()}), REPORT)
        archive = pack(folder / "b", folder / "b.tar")
        assert archive.bytes == archive.path.stat().st_size
        unpacked = unpack(archive.path, folder / "u").bundle
        assert unpacked == Bundle.open(folder / "u")
        assert tree(folder / "u") == tree(folder / "b")
        assert pack(folder / "u", folder / "u.tar").path.read_bytes() == archive.path.read_bytes()
        with tarfile.open(archive.path) as tar:
            tar.extractall(folder / "t", filter="data")
        assert Bundle.open(folder / "t").manifest == unpacked.manifest


def test_nothing_but_the_bundle_decides_the_bytes(linear_bundle: Bundle, packed: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(linear_bundle.root, tmp_path / "elsewhere" / "b"))
    for number, path in enumerate(sorted(copy.rglob("*"))):
        os.utime(path, (number, number))
        path.chmod(0o755 if path.is_dir() else 0o600)
    assert pack(copy, tmp_path / "b.tar").path.read_bytes() == packed.read_bytes()


def test_the_manifest_comes_first_and_the_report_last(packed: Path) -> None:
    with tarfile.open(packed) as tar:
        members = tar.getmembers()
    paths = [member.name for member in members]
    assert (paths[0], paths[-1]) == ("manifest.json", "build.json")
    assert paths[1:-1] == sorted(paths[1:-1])
    assert {(m.mode, m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0o644, 0, 0, "", "", 0)}


def test_a_bundle_without_a_report_is_packed_without_one(bundle_copy: Path, tmp_path: Path) -> None:
    (bundle_copy / "build.json").unlink()
    unpacked = unpack(pack(bundle_copy, tmp_path / "b.tar").path, tmp_path / "u").bundle
    assert unpacked.report() is None
    assert tree(unpacked.root) == tree(bundle_copy)


def test_hard_linked_weights_are_packed_as_files(bundle_copy: Path, packed: Path, tmp_path: Path) -> None:
    for shard in (bundle_copy / "weights").iterdir():
        os.link(shard, tmp_path / shard.name)
        os.link(shard, tmp_path / f"other-{shard.name}")
    assert pack(bundle_copy, tmp_path / "b.tar").path.read_bytes() == packed.read_bytes()


def test_shards_become_links_into_a_store_and_are_put_there_first(packed: Path, tmp_path: Path) -> None:
    store = ShardStore.open(tmp_path / "store", create=True)
    first = unpack(packed, tmp_path / "one", store=store)
    again = unpack(packed, tmp_path / "two", store=store)
    assert first.notices == again.notices == ()
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    for shard in first.bundle.manifest.weights.shards:
        inodes = {(tmp_path / name / shard.path).stat().st_ino for name in ("one", "two")}
        assert inodes == {(tmp_path / "store" / stored_path(shard.sha256)).stat().st_ino}
    assert {claim.place for claim in store.claims()} == {str(tmp_path / "one"), str(tmp_path / "two")}
    assert verify(store).problems == ()
    assert Bundle.open(tmp_path / "two").manifest == first.bundle.manifest


def test_a_store_is_left_alone_by_an_archive_that_is_refused(packed: Path, tmp_path: Path) -> None:
    store = ShardStore.open(tmp_path / "store", create=True)
    before = tree(tmp_path / "store")
    (tmp_path / "b.tar").write_bytes(packed.read_bytes().replace(b"samples/inputs.npz\0\0", b"samples/inputs.npy\0\0"))
    with pytest.raises(BundleError):
        unpack(tmp_path / "b.tar", tmp_path / "u", store=store)
    assert tree(tmp_path / "store") == before


def test_progress_ends_at_the_total(linear_bundle: Bundle, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    pack(linear_bundle.root, tmp_path / "b.tar", progress=lambda *done: told.append(done))
    assert told[-1][0] == told[-1][1]
    assert told == sorted(told)
    told.clear()
    unpack(tmp_path / "b.tar", tmp_path / "u", progress=lambda *done: told.append(done))
    assert told[-1][0] == told[-1][1]


def test_weights_are_never_in_memory(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "b") as writer:
        manifest = bundles.fill(writer, {"m": bundles.linear()})
        writer.add("more/large", b"")
        os.truncate(writer.root / "more" / "large", 64 << 20)
        writer.commit(manifest.model_copy(update={"files": writer.inventory()}), REPORT)
    tracemalloc.start()
    try:
        unpack(pack(tmp_path / "b", tmp_path / "b.tar").path, tmp_path / "u")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_changed_bundle_is_not_packed_and_all_that_changed_is_told(bundle_copy: Path, tmp_path: Path) -> None:
    for path in ("engines/one-main.onnx", "samples/inputs.npz"):
        file = bundle_copy / path
        file.write_bytes(file.read_bytes()[::-1])
    with pytest.raises(BundleError, match="was changed") as caught:
        pack(bundle_copy, tmp_path / "b.tar")
    assert [problem.subject for problem in caught.value.problems] == ["engines/one-main.onnx", "samples/inputs.npz"]
    assert names(tmp_path) == ["bundle"]


@pytest.mark.parametrize("place", ["b.tar", "weights/b.tar"])
def test_a_packed_bundle_does_not_lie_within_itself(bundle_copy: Path, place: str) -> None:
    with pytest.raises(UsageError, match="within the bundle"):
        pack(bundle_copy, bundle_copy / place)
    Bundle.open(bundle_copy)


def test_a_bundle_that_is_there_is_replaced_only_by_force(packed: Path, tmp_path: Path) -> None:
    bundles.write(tmp_path / "u", {"m": bundles.linear()})
    before = tree(tmp_path / "u")
    with pytest.raises(BundleError, match="already there"):
        unpack(packed, tmp_path / "u")
    assert tree(tmp_path / "u") == before
    assert unpack(packed, tmp_path / "u", force=True).bundle == Bundle.open(tmp_path / "u")
    assert names(tmp_path) == ["u"]


@pytest.mark.parametrize("what", ["absent", "folder", "pipe", "device", "empty", "text", "zeros", "bundle"])
def test_what_is_no_packed_bundle_says_so(tmp_path: Path, linear_bundle: Bundle, what: str) -> None:
    file = tmp_path / "file"
    match what:
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "device":
            file = Path("/dev/zero")
        case "empty" | "text" | "zeros":
            file.write_bytes({"empty": b"", "text": b"manifest.json" * 1000, "zeros": bytes(20_480)}[what])
        case "bundle":
            file = linear_bundle.root
    with pytest.raises(BundleError) as caught:
        unpack(file, tmp_path / "u")
    (problem,) = caught.value.problems
    assert problem.hint
    assert not (tmp_path / "u").exists()


@settings(max_examples=60)
@given(st.data())
def test_a_changed_byte_anywhere_is_a_bundle_error(packed: Path, data: st.DataObject) -> None:
    """But in the bytes of build.json, which no digest covers."""
    good = packed.read_bytes()
    with tarfile.open(packed) as tar:
        report = tar.getmember("build.json")
    at = data.draw(
        st.integers(0, report.offset_data - 1) | st.integers(report.offset_data + report.size, len(good) - 1)
    )
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    refused(bad)


@settings(max_examples=40)
@given(st.data())
def test_a_cut_or_grown_archive_is_a_bundle_error(packed: Path, data: st.DataObject) -> None:
    good = packed.read_bytes()
    cut = st.integers(0, len(good) - 1).map(lambda size: good[:size])
    grown = st.sampled_from([b"\0", bytes(512), bytes(10_240), b"x", good]).map(lambda more: good + more)
    refused(data.draw(cut | grown))


def refused(data: bytes) -> None:
    """Unpacking this is an error, and leaves nothing."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "file"
        file.write_bytes(data)
        with pytest.raises(BundleError):
            unpack(file, Path(name) / "deep" / "u")
        assert names(Path(name)) == ["file"]


def test_a_changed_report_is_unpacked_as_it_is(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(packed.read_bytes().replace(b"x86_64", b"\0bad\xff\n"))
    unpacked = unpack(tmp_path / "b.tar", tmp_path / "u").bundle
    with pytest.raises(BundleError, match="cannot be read"):
        unpacked.report()


def test_a_full_disk_is_one_clear_error_and_nothing_stays(
    linear_bundle: Bundle, packed: Path, tmp_path: Path, small_disk: None
) -> None:
    for job in (
        lambda: pack(linear_bundle.root, tmp_path / "b.tar"),
        lambda: unpack(packed, tmp_path / "new" / "u"),
    ):
        with pytest.raises(BundleError, match="cannot be written: File too large") as caught:
            job()
        assert len(caught.value.problems) == 1
        assert names(tmp_path) == []


CHILD = """
import sys, time
from artifacts import packing

def stop(*_):
    print("here", flush=True)
    time.sleep(60)

getattr(packing, sys.argv[1])(sys.argv[2], sys.argv[3], progress=stop)
"""


@pytest.mark.parametrize("verb", ["pack", "unpack"])
def test_a_killed_process_leaves_nothing_that_the_next_does_not_remove(
    linear_bundle: Bundle, packed: Path, tmp_path: Path, verb: str
) -> None:
    source = {"pack": linear_bundle.root, "unpack": packed}[verb]

    def run(destination: Path) -> None:
        if verb == "pack":
            pack(source, destination)
        else:
            unpack(source, destination)

    command = [sys.executable, "-c", CHILD, verb, str(source), str(tmp_path / "x")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=child_environment()) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"here\n"
        (draft,) = names(tmp_path)
        run(tmp_path / "other")
        assert names(tmp_path) == sorted([draft, "other"]), "a living process keeps its draft"
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert names(tmp_path) == sorted([draft, "other"])
    run(tmp_path / "x")
    assert names(tmp_path) == ["other", "x"]


def test_many_at_once_make_one_file(linear_bundle: Bundle, packed: Path, tmp_path: Path) -> None:
    refused: list[BundleError] = []

    def job() -> None:
        try:
            pack(linear_bundle.root, tmp_path / "b.tar")
        except BundleError as error:
            refused.append(error)

    threads = [threading.Thread(target=job) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5
    assert names(tmp_path) == ["b.tar"]
    assert (tmp_path / "b.tar").read_bytes() == packed.read_bytes()
