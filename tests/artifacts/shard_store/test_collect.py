from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from artifacts.bundle_writer import write_bundle
from artifacts.errors import StoreError
from artifacts.shard_store.claims import ClaimState
from artifacts.shard_store.collect import Collected, Tally, collect
from artifacts.shard_store.store import ShardStore, stored_path
from artifacts.shard_store.verify import verify
from artifacts.shard_store.writer import share_shards
from artifacts.weights import WeightStore
from tests.support.cli import child_environment
from tests.support.stores import content, inodes, share, tree


@pytest.fixture
def store(tmp_path: Path) -> ShardStore:
    return ShardStore.open(tmp_path / "store", create=True)


def stored(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "store" / "shards").rglob("*.safetensors")}


def shards(bundle: Bundle) -> set[str]:
    return {shard.sha256 for shard in bundle.manifest.weights.shards}


def test_what_another_bundle_shares_stays_and_the_rest_goes(tmp_path: Path, store: ShardStore) -> None:
    backbone = {"backbone": content(1, 10_000)}
    one = share(store, tmp_path / "one", {**backbone, "head": content(2)})
    two = share(store, tmp_path / "two", {**backbone, "head": content(3)})
    shutil.rmtree(one.root)
    before = tree(tmp_path)
    told = collect(store, dry_run=True)
    assert tree(tmp_path) == before
    done = collect(store)
    assert told == done
    (gone,) = shards(one) - shards(two)
    assert done.removed.files == 1
    assert done.removed.bytes == len(before[f"store/{stored_path(gone)}"])
    assert [claim.place for claim in done.dead_claims] == [str(one.root)]
    assert stored(tmp_path) == shards(two)
    assert Bundle.open(two.root) == two
    assert not verify(store).problems
    again = collect(store)
    assert (again.removed, again.dead_claims) == (Tally(), ())


def test_age_does_not_matter(tmp_path: Path, store: ShardStore) -> None:
    bundle = share(store, tmp_path / "b", {"w": content(1)})
    for file in (tmp_path / "store").rglob("*"):
        os.utime(file, (0, 0))
    assert collect(store).removed == Tally()
    assert stored(tmp_path) == shards(bundle)


def test_a_bundle_that_was_moved_keeps_its_shards_by_its_links(tmp_path: Path, store: ShardStore) -> None:
    bundle = share(store, tmp_path / "b", {"w": content(1)})
    bundle.root.rename(tmp_path / "moved")
    found = collect(store)
    assert (found.removed.files, found.linked.files, len(found.dead_claims)) == (0, 1, 1)
    assert len(inodes(tmp_path)) == 1
    shutil.rmtree(tmp_path / "moved")
    assert collect(store).removed.files == 1


def test_a_replaced_bundle_no_longer_keeps_what_it_had(tmp_path: Path, store: ShardStore) -> None:
    share(store, tmp_path / "b", {"w": content(1), "v": content(2)})
    new = share(store, tmp_path / "b", {"w": content(1), "u": content(3)}, force=True)
    found = collect(store)
    assert found.removed.files == 1
    assert stored(tmp_path) == shards(new)
    assert Bundle.open(new.root) == new


def test_the_claim_of_another_host_is_live(tmp_path: Path, store: ShardStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as there:
        there.setattr(platform, "node", lambda: "another")
        bundle = share(store, tmp_path / "b", {"w": content(1)})
    shutil.rmtree(bundle.root)
    assert [claim.state() for claim in store.claims()] == [ClaimState.UNSEEN]
    found = collect(store)
    assert (found.claimed.files, found.removed.files) == (1, 0)
    assert verify(store).unseen == 1


def test_what_a_living_writer_announced_stays(tmp_path: Path, store: ShardStore) -> None:
    weights, ref = WeightStore().with_tensor(content(1))
    with share_shards(store, tmp_path / "b") as sharing, write_bundle(tmp_path / "b") as writer:
        index = sharing.write_shards(weights, [ref], writer.root)
        shutil.rmtree(writer.root / "weights")  # as if it had copies on another file system
        assert collect(store).awaited.files == 1
        assert stored(tmp_path) == {index.shards[0].sha256}
    assert collect(store).removed.files == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from artifacts.bundle_writer import BundleWriter
from artifacts.shard_store.store import ShardStore
from tests.support.stores import content, share
BundleWriter.commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
share(ShardStore.open(sys.argv[1]), Path(sys.argv[2]), {"w": content(1)})
"""


def test_what_a_dead_writer_left_goes_wherever_it_is(tmp_path: Path, store: ShardStore) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "store"), str(tmp_path / "b")]
    assert subprocess.run(command, env=child_environment(), check=False).returncode == -signal.SIGKILL
    (tmp_path / "store" / "drafts").mkdir(exist_ok=True)
    (tmp_path / "store" / "drafts" / "1-0").write_bytes(b"half")
    assert len(list(tmp_path.glob(".b.unspool-*"))) == 1
    assert not verify(store).problems
    found = collect(store)
    assert (found.dead_writers, len(found.dead_claims), found.removed.files, found.linked.files) == (1, 1, 1, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
    assert sorted(tree(tmp_path / "store")) == ["gate", "lock", "store.json"]


def test_a_writer_that_died_before_it_said_what_it_needs_is_no_obstacle(tmp_path: Path, store: ShardStore) -> None:
    writers = tmp_path / "store" / "writers"
    writers.mkdir()
    (writers / "1-0.json").write_bytes(b'{"host"')
    assert collect(store).dead_writers == 1
    assert not list(writers.iterdir())


def test_nothing_is_removed_if_a_claim_cannot_be_read(tmp_path: Path, store: ShardStore) -> None:
    bundle = share(store, tmp_path / "b", {"w": content(1)})
    shutil.rmtree(bundle.root)
    (claim,) = (tmp_path / "store" / "claims").iterdir()
    claim.write_bytes(b"{}")
    with pytest.raises(StoreError, match=claim.name):
        collect(store)
    assert stored(tmp_path) == shards(bundle)
    assert claim.name in verify(store).problems[0].subject


def test_gc_waits_for_a_writer_and_the_next_writer_for_gc(tmp_path: Path, store: ShardStore) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def run_gc() -> None:
        waiting.set()
        with store.files.collecting():
            order.append("gc")

    def run_writer() -> None:
        with store.files.writing():
            order.append("writer")

    with contextlib.ExitStack() as held:
        held.enter_context(store.files.writing())
        gc = threading.Thread(target=run_gc)
        gc.start()
        waiting.wait()
        while _can_write(tmp_path / "store" / "gate"):  # until gc is in the queue
            pass
        writer = threading.Thread(target=run_writer)
        writer.start()
        assert order == []
    gc.join()
    writer.join()
    assert order == ["gc", "writer"]


def _can_write(gate: Path) -> bool:
    with gate.open("rb") as stream:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def told(found: Collected) -> int:
    return found.removed.files + found.claimed.files + found.awaited.files + found.linked.files


def test_every_shard_is_counted_once(tmp_path: Path, store: ShardStore) -> None:
    bundles = [share(store, tmp_path / str(n), {"w": content(n), "v": content(n + 1)}) for n in range(4)]
    shutil.rmtree(bundles[0].root)
    bundles[1].root.rename(tmp_path / "moved")
    found = collect(store, dry_run=True)
    assert told(found) == len(stored(tmp_path)) == 5
    assert (found.removed.files, found.linked.files, found.claimed.files) == (1, 1, 3)
