"""A store at a URL: in this process's memory, and on an S3 server in a process of its own."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from artifacts.bundle import Bundle
from artifacts.errors import StoreError, UsageError
from artifacts.packing import pack, unpack
from artifacts.shard_store.collect import Tally, collect
from artifacts.shard_store.faults import without_credentials
from artifacts.shard_store.files import StoredFile
from artifacts.shard_store.remote import LOCK, RemoteFiles
from artifacts.shard_store.store import ShardStore, stored_path
from artifacts.shard_store.verify import verify
from artifacts.shard_store.writer import share_shards
from artifacts.weights import WeightStore
from tests.support import bundles
from tests.support.cli import child_environment
from tests.support.stores import content, share


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest) -> str:
    """A place where nothing is."""
    if request.param == "memory":
        return f"memory://{secrets.token_hex(8)}/zoo"
    return f"{request.getfixturevalue('bucket')}/zoo"


@pytest.fixture
def store(url: str) -> ShardStore:
    return ShardStore.open(url, create=True)


def remote(store: ShardStore) -> RemoteFiles:
    assert isinstance(store.files, RemoteFiles)
    return store.files


def shards(bundle: Bundle) -> set[str]:
    return {shard.sha256 for shard in bundle.manifest.weights.shards}


def stored(store: ShardStore) -> set[str]:
    return {Path(file.path).stem for file in store.files.list("shards")}


def times(store: ShardStore) -> dict[str, Any]:
    """When each shard was uploaded."""
    files = remote(store)
    return {
        digest: [files.fs.info(f"{files.root}/{stored_path(digest)}").get(key) for key in ("created", "LastModified")]
        for digest in stored(store)
    }


def test_bundles_have_copies_and_the_store_has_each_shard_once(tmp_path: Path, store: ShardStore) -> None:
    backbone = {"backbone": content(1, 10_000)}
    one = share(store, tmp_path / "one", {**backbone, "head": content(2)})
    before = times(store)
    two = share(store, tmp_path / "two", {**backbone, "head": content(3)})
    after = times(store)
    assert set(after) == shards(one) | shards(two)
    assert len(after) == 3
    assert {digest: after[digest] for digest in before} == before, "nothing is uploaded twice"
    for bundle in (one, two):
        assert Bundle.open(bundle.root) == bundle
        assert all(path.stat().st_nlink == 1 for path in (bundle.root / "weights").iterdir())
    found = verify(store)
    assert (found.problems, found.shards, found.live) == ((), 3, 2)
    assert list(Path(tempfile.gettempdir()).glob("unspool-writers-*/*")) == []


def test_a_store_is_found_again_and_something_else_is_none(url: str) -> None:
    with pytest.raises(StoreError, match="is not a store"):
        ShardStore.open(url)
    store = ShardStore.open(url, create=True)
    assert ShardStore.open(url).files.location == store.files.location == url
    assert [file.path for file in store.files.list("")] == ["store.json"]
    store.files.write("deep/notes", b"mine")
    with pytest.raises(StoreError, match="is not a store"):
        ShardStore.open(f"{url}/deep", create=True)


def test_two_writers_and_gc_at_once(tmp_path: Path, store: ShardStore) -> None:
    def write(name: str, seeds: Sequence[int]) -> None:
        connected = ShardStore.open(store.files.location)
        for seed in seeds:
            share(connected, tmp_path / f"{name}{seed}", {"own": content(seed), "backbone": content(0, 10_000)})

    writers = [
        threading.Thread(target=write, args=("a", (1, 2, 3))),
        threading.Thread(target=write, args=("b", (3, 2))),
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        while writer.is_alive():
            assert collect(store).removed.files == 0
            writer.join(0.2)
    written = [Bundle.open(path) for path in sorted(tmp_path.iterdir())]
    assert [bundle.root.name for bundle in written] == ["a1", "a2", "a3", "b2", "b3"]
    assert stored(store) == set().union(*map(shards, written))
    assert len(stored(store)) == 4
    assert (verify(store).problems, verify(store).live) == ((), 5)


def test_gc_removes_what_no_bundle_needs(tmp_path: Path, store: ShardStore) -> None:
    one = share(store, tmp_path / "one", {"a": content(1), "b": content(2)})
    two = share(store, tmp_path / "two", {"a": content(1), "c": content(3)})
    shutil.rmtree(one.root)
    assert collect(store, dry_run=True).removed.files == 1
    assert collect(store).removed.files == 1
    assert stored(store) == shards(two)
    again = collect(store)
    assert (again.removed, again.dead_claims, again.claimed.files) == (Tally(), (), 2)
    assert verify(store).problems == ()


def test_claims_of_other_hosts_are_live(tmp_path: Path, store: ShardStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("platform.node", lambda: "elsewhere")
        bundle = share(store, tmp_path / "b", {"w": content(1)})
    shutil.rmtree(bundle.root)
    assert collect(store).claimed.files == 1
    assert verify(store).unseen == 1


def test_what_a_living_writer_needs_is_kept_while_gc_runs(tmp_path: Path, store: ShardStore) -> None:
    weights, refs = WeightStore().with_tensors([(content(1), None)])
    with share_shards(store, tmp_path / "b") as sharing:
        index = sharing.write_shards(weights, refs, tmp_path)
        found = collect(store)
        assert (found.removed.files, found.awaited.files) == (0, 1)
    assert stored(store) == {shard.sha256 for shard in index.shards}
    assert collect(store).removed.files == 1, "it has ended without a bundle"


def test_a_claim_whose_bundle_is_about_to_come_survives_gc(tmp_path: Path, store: ShardStore) -> None:
    """Where no lock keeps gc out: between a claim and its bundle the claim looks dead."""
    other = share(store, tmp_path / "b", {"w": content(1)})
    shutil.rmtree(other.root)
    (tmp_path / "made" / "weights").mkdir(parents=True)
    with share_shards(store, other.root) as sharing:
        parts = (np.zeros(other.manifest.weights.shards[0].bytes, np.uint8),)
        sharing.share(dict.fromkeys(other.manifest.weights.shards, parts), tmp_path / "made")
        with sharing.claim(other.manifest):
            found = collect(store)
            assert (found.dead_claims, found.removed.files) == ((), 0)
    assert len(list(store.claims())) == 1


def test_gc_that_comes_between_a_look_and_a_claim_sees_the_one_or_the_other(tmp_path: Path, url: str) -> None:
    """A writer that looked for gc just before it began puts its bundle in place between two looks of that gc."""
    ShardStore.open(url, create=True)
    has_looked, may_go_on = threading.Event(), threading.Event()

    class Collecting(RemoteFiles):
        def list(self, folder: str) -> Iterator[StoredFile]:
            found = tuple(super().list(folder))
            if folder in {"claims", "writers"} and not has_looked.is_set():
                has_looked.set()
                may_go_on.wait(60)
            return iter(found)

    class Claiming(RemoteFiles):
        def write(self, path: str, data: bytes) -> None:
            if path.startswith("claims/"):
                collector.start()
                has_looked.wait(60)
            super().write(path, data)

    collector = threading.Thread(target=lambda: collect(ShardStore(Collecting.open(url))))
    bundle = share(ShardStore(Claiming.open(url)), tmp_path / "b", {"w": content(1)})
    may_go_on.set()
    collector.join()
    store = ShardStore.open(url)
    assert stored(store) == shards(bundle)
    assert (verify(store).problems, verify(store).live) == ((), 1)


def test_while_gc_runs_writers_wait_and_then_say_who_holds_it(tmp_path: Path, store: ShardStore) -> None:
    hurried = ShardStore(replace(remote(store), patience=0))
    with store.files.collecting():
        with pytest.raises(StoreError, match="gc runs, or was killed") as caught:
            share(hurried, tmp_path / "b", {"w": content(1)})
        (problem,) = caught.value.problems
        assert problem.subject == f"{store.files.location}/{LOCK}"
        assert str(os.getpid()) in problem.message
        assert f"unspool store unlock {store.files.location}" in problem.hint
        with pytest.raises(StoreError, match="gc runs, or was killed"):
            collect(store)
        assert not (tmp_path / "b").exists()
        waiting = threading.Thread(target=share, args=(store, tmp_path / "b", {"w": content(1)}))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        assert stored(store) == set()
    waiting.join()
    assert stored(store) == shards(Bundle.open(tmp_path / "b"))


def test_of_many_gcs_at_once_one_runs(store: ShardStore) -> None:
    """As many as there are see each other by one object that only one of them can make."""
    together = threading.Barrier(4)
    won: list[int] = []

    def run(number: int) -> None:
        files = RemoteFiles.open(store.files.location)
        together.wait()
        if files._create("contested", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.files.read("contested") == str(won[0]).encode()
    assert len(won) == 1


class Careless(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A server that knows no conditional writes."""

    def pipe_file(self, path: str, value: bytes, **more: Any) -> Any:
        return super().pipe_file(path, value, **{**more, "mode": "overwrite"})


def test_gc_refuses_a_place_that_lets_two_make_one_object(tmp_path: Path) -> None:
    root = f"/{secrets.token_hex(8)}"
    share(ShardStore.open(f"memory:/{root}", create=True), tmp_path / "b", {"w": content(1)})
    shutil.rmtree(tmp_path / "b")
    careless = ShardStore(RemoteFiles(Careless(), root, "careless://zoo", is_whole=True))
    with pytest.raises(StoreError, match="no conditional writes"):
        collect(careless)
    assert len(stored(careless)) == 1
    assert list(careless.files.list(LOCK)) == []


def test_a_flipped_byte_is_found(tmp_path: Path, store: ShardStore) -> None:
    bundle = share(store, tmp_path / "b", {"w": content(1)})
    (digest,) = shards(bundle)
    data = bytearray(store.files.read(stored_path(digest)))
    data[-1] ^= 1
    store.files.write(stored_path(digest), bytes(data))
    (problem,) = verify(store).problems
    assert problem.subject == stored_path(digest)
    assert str(bundle.root) in problem.message


def test_a_lost_shard_is_found_and_comes_back(tmp_path: Path, store: ShardStore) -> None:
    bundle = share(store, tmp_path / "b", {"w": content(1)})
    (digest,) = shards(bundle)
    store.files.delete(stored_path(digest))
    assert [problem.subject for problem in verify(store).problems] == [stored_path(digest)]
    share(store, tmp_path / "other", {"w": content(1)})
    assert verify(store).problems == ()


def test_a_shard_that_is_too_short_is_replaced(tmp_path: Path, store: ShardStore) -> None:
    (digest,) = shards(share(store, tmp_path / "b", {"w": content(1)}))
    store.files.write(stored_path(digest), b"short")
    share(store, tmp_path / "other", {"w": content(1)})
    assert verify(store).problems == ()


class Interrupted(Sequence[npt.NDArray[np.uint8]]):
    """More bytes than one part of an upload has, and then an interrupt."""

    @overload
    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[npt.NDArray[np.uint8]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if index == 0:
            return np.zeros(10 << 20, np.uint8)
        raise KeyboardInterrupt

    def __len__(self) -> int:
        return 2


def test_an_upload_that_is_interrupted_leaves_nothing(bucket: str) -> None:
    files = RemoteFiles.open(f"{bucket}/zoo")
    with pytest.raises(KeyboardInterrupt):
        files.put("shards/x", Interrupted())
    gc.collect()
    assert list(files.list("")) == []
    assert files.fs.list_multipart_uploads(bucket.removeprefix("s3://")) == []


def test_a_large_shard_goes_in_parts_and_never_over_another(bucket: str) -> None:
    files = RemoteFiles.open(f"{bucket}/zoo")
    data = np.arange(3 << 20, dtype=np.uint32).view(np.uint8)
    assert files.put("shards/x", [data[:1000], data[1000:]])
    assert files.read("shards/x") == data.tobytes()
    with pytest.raises(FileExistsError):
        files._upload(files._name("shards/x"), [data[::-1]], "xb")
    assert files.read("shards/x") == data.tobytes()


def test_an_archive_is_unpacked_into_it(tmp_path: Path, store: ShardStore) -> None:
    bundle = bundles.write(tmp_path / "b", {"m": bundles.linear()})
    archive = pack(bundle.root, tmp_path / "b.tar").path
    unpacked = unpack(archive, tmp_path / "u", store=store)
    assert "cannot be hard-linked" in unpacked.notices[0]
    assert Bundle.open(tmp_path / "u").manifest == bundle.manifest
    assert stored(store) == shards(bundle)


def test_a_file_url_is_a_folder_with_links(tmp_path: Path) -> None:
    store = ShardStore.open(f"file://{tmp_path}/a%20store", create=True)
    bundle = share(store, tmp_path / "b", {"w": content(1)})
    (shard,) = bundle.manifest.weights.shards
    assert (tmp_path / "a store" / stored_path(shard.sha256)).samefile(bundle.root / shard.path)


# What errors show.


def test_no_error_shows_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush/hush+secret")
    ftp = "ftp://me:hush@127.0.0.1:9/zoo"
    with pytest.raises(UsageError, match="credentials"):
        ShardStore.open("s3://me@bucket/zoo")
    places = [ftp, "what://me:hush@place/zoo", "s3://me:hush/hush@bucket/zoo", "s3://no-such-bucket/zoo"]
    for place in places:
        with pytest.raises((StoreError, UsageError)) as caught:
            ShardStore.open(place, create=True)
        assert "hush" not in str(caught.value)
        assert caught.value.__cause__ is None or "hush" not in repr(caught.value.__cause__)


def test_a_server_that_is_not_there_is_one_clear_error(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match="Could not connect") as caught:
        ShardStore.open(f"{bucket}/zoo")
    assert len(caught.value.problems) == 1


@given(st.text("abc/@:+=", min_size=1), st.text("abc/+=", min_size=1))
def test_what_stands_before_a_host_is_never_shown(user: str, secret: str) -> None:
    shown = without_credentials(f"cannot reach x://{user.replace('/', '')}:S{secret}S@host/path?token=S{secret}S now")
    assert f"S{secret}S" not in shown


def test_a_url_without_credentials_is_shown_as_it_is() -> None:
    for text in ("s3://bucket/zoo", "http://127.0.0.1:9000/a/b", "a@b.c is no URL", "memory://x/y"):
        assert without_credentials(text) == text


# Processes that die.


KILLED_GC = """
import sys, time
from artifacts.shard_store.store import ShardStore
with ShardStore.open(sys.argv[1]).files.collecting():
    print("here", flush=True)
    time.sleep(60)
"""


def test_a_killed_gc_keeps_its_lock_until_somebody_says_that_it_is_dead(tmp_path: Path, bucket: str) -> None:
    store = ShardStore.open(f"{bucket}/zoo", create=True)
    command = [sys.executable, "-c", KILLED_GC, f"{bucket}/zoo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=child_environment()) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"here\n"
        child.send_signal(signal.SIGKILL)
    with pytest.raises(StoreError, match="gc runs, or was killed"):
        collect(store)
    assert store.files.unlock()
    assert not store.files.unlock()
    share(store, tmp_path / "b", {"w": content(1)})
    assert collect(store).claimed.files == 1


@pytest.mark.parametrize(
    "count",
    # Twenty take half a minute: each is a process that connects, uploads and dies.
    [2, pytest.param(20, marks=pytest.mark.slow)],
)
def test_killed_writers_leave_no_wrong_byte(tmp_path: Path, bucket: str, count: int) -> None:
    command = [sys.executable, "-m", "tests.support.killed_uploads", f"{bucket}/zoo", str(tmp_path), str(count), "7"]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ended, committed = map(int, done.stdout.split())
    assert 0 < ended <= count
    store = ShardStore.open(f"{bucket}/zoo")
    whole = [Bundle.open(path) for path in tmp_path.glob("b*") if path.is_dir()]
    assert len(whole) >= committed
    assert verify(store).problems == ()
    found = collect(store)
    assert stored(store) == set().union(*map(shards, whole))
    assert collect(store).removed == Tally()
    assert verify(store).live == len(whole)
    assert list(store.files.list("writers")) == [], found
    assert remote(store).fs.list_multipart_uploads(bucket.removeprefix("s3://")) == []


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writers of this test hold files that say that they live."""
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
    monkeypatch.setattr(tempfile, "tempdir", None)
