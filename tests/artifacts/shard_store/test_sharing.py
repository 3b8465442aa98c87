from __future__ import annotations

import errno
import json
import mmap
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from artifacts.bundle import Bundle
from artifacts.errors import StoreError
from artifacts.shard_store.shard_file import shard_file
from artifacts.shard_store.store import ShardStore, stored_path
from artifacts.shard_store.verify import verify
from artifacts.shard_store.writer import adopt, share_shards
from artifacts.weights import WeightStore
from tests.artifacts.test_mapped_pages import mapped, resident
from tests.support import bundles
from tests.support.stores import blocks, content, inodes, share, tree


@pytest.fixture
def store(tmp_path: Path) -> ShardStore:
    return ShardStore.open(tmp_path / "store", create=True)


def test_bundles_of_one_content_have_one_copy_on_disk(tmp_path: Path, store: ShardStore) -> None:
    backbone = {"backbone": content(1, 100_000)}
    one = share(store, tmp_path / "one", {**backbone, "head": content(2)})
    two = share(store, tmp_path / "two", {**backbone, "head": content(3)})
    assert len(inodes(tmp_path)) == 3
    assert len(inodes(one.root) & inodes(two.root)) == 1
    assert blocks(tmp_path) < 1.05 * (400_000 + 3 * 4096 + 8192)
    for bundle in (one, two):
        assert Bundle.open(bundle.root) == bundle
    assert not verify(store).problems


def test_a_content_is_shared_whatever_its_shape_and_type(tmp_path: Path, store: ShardStore) -> None:
    flat = content(1, 24)
    share(store, tmp_path / "one", {"w": flat})
    share(store, tmp_path / "two", {"v": flat.reshape(2, 3, 4)})
    share(store, tmp_path / "three", {"u": flat.view(np.int16)})
    assert len(inodes(tmp_path)) == 1


def test_a_shard_is_a_safetensors_file_whose_data_is_aligned(tmp_path: Path, store: ShardStore) -> None:
    share(store, tmp_path / "b", {"w": content(1, 7)})
    (file,) = (tmp_path / "b").rglob("*.safetensors")
    ((digest, array),) = load_file(file).items()
    assert array.tobytes() == content(1, 7).tobytes()
    weights, ref = WeightStore().with_tensor(content(1, 7))
    assert digest == ref.digest
    (tensor,) = shard_file(digest, weights.blobs[digest]).tensors
    assert tensor.offset % 64 == 0
    assert file.read_bytes()[tensor.offset :] == array.tobytes()


def test_a_shared_file_is_read_only(tmp_path: Path, store: ShardStore) -> None:
    bundle = share(store, tmp_path / "b", {"w": content(1)})
    for shard in bundle.manifest.weights.shards:
        for file in (bundle.root / shard.path, tmp_path / "store" / stored_path(shard.sha256)):
            assert not file.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


def test_a_damaged_shard_is_replaced_by_the_next_writer(tmp_path: Path, store: ShardStore) -> None:
    bundle = share(store, tmp_path / "one", {"w": content(1)})
    (shard,) = bundle.manifest.weights.shards
    file = tmp_path / "store" / stored_path(shard.sha256)
    file.chmod(0o644)
    for damaged in (file.read_bytes()[:-1] + b"\0", b"short"):
        file.write_bytes(damaged)
        found = verify(store).problems
        assert [problem.subject for problem in found] == [stored_path(shard.sha256)]
        assert str(tmp_path / "one") in found[0].message
        again = share(store, tmp_path / "one", {"w": content(1)}, force=True)
        Bundle.open(again.root)
        assert not verify(store).problems


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_a_mapped_content_is_in_no_memory_after_it_was_shared(tmp_path: Path, store: ShardStore) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(64 * mmap.PAGESIZE))
    weights, ref = WeightStore().with_tensor(mapped(source))
    for name in ("one", "two"):
        with share_shards(store, tmp_path / name) as sharing:
            (shard,) = sharing.write_shards(weights, [ref], tmp_path / name).shards
        assert resident(source) == resident(tmp_path / "store" / stored_path(shard.sha256)) == 0


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_where_nothing_can_be_linked_a_bundle_has_copies(
    tmp_path: Path, store: ShardStore, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def refuse(source: Path, target: Path) -> None:
        if "store" not in Path(target).parts:
            raise OSError(number, os.strerror(number), str(source), None, str(target))
        link(source, target)

    monkeypatch.setattr(os, "link", refuse)
    bundle = share(store, tmp_path / "b", {"w": content(1)})
    assert Bundle.open(bundle.root) == bundle
    assert len(inodes(tmp_path)) == 2
    assert adopt(store, bundle) == (
        f"1 of 1 shards are copies: {tmp_path / 'store'} cannot be hard-linked from {tmp_path}",
    )
    assert not verify(store).problems


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_a_bundle_on_another_file_system_has_copies(tmp_path: Path, store: ShardStore) -> None:
    elsewhere = Path(f"/dev/shm/unspool-test-{os.getpid()}")
    elsewhere.mkdir()
    try:
        bundle = share(store, elsewhere / "b", {"w": content(1)})
        assert Bundle.open(bundle.root) == bundle
        assert not verify(store).problems
    finally:
        shutil.rmtree(elsewhere)


def test_a_bundle_that_is_there_can_share_its_shards(tmp_path: Path, store: ShardStore) -> None:
    one = bundles.write(tmp_path / "one", {"m": bundles.linear(columns=200)})
    two = bundles.write(tmp_path / "two", {"n": bundles.linear(columns=200)})
    before = tree(one.root), tree(two.root)
    assert len(inodes(tmp_path)) == 2
    assert adopt(store, one) == adopt(store, two) == ()
    assert len(inodes(tmp_path)) == 1
    assert (tree(one.root), tree(two.root)) == before
    found = verify(store)
    assert (found.live, found.problems) == (2, ())
    assert adopt(store, one) == ()
    assert len(list(store.claims())) == 2


def test_a_folder_of_something_else_is_not_made_a_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for create in (True, False):
        with pytest.raises(StoreError, match="is not a store"):
            ShardStore.open(tmp_path, create=create)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_store_is_made_only_on_request(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a store"):
        ShardStore.open(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        ShardStore.open(tmp_path / "file" / "store", create=True)


def test_a_store_of_another_layout_is_refused(tmp_path: Path, store: ShardStore) -> None:
    mark = tmp_path / "store" / "store.json"
    mark.write_text(json.dumps({"unspool_store": 2}))
    with pytest.raises(StoreError, match="another layout"):
        ShardStore.open(tmp_path / "store")


def test_a_full_disk_is_one_clear_error_and_nothing_half_made(
    tmp_path: Path, store: ShardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        share(store, tmp_path / "b", {"w": content(1)})
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
    assert sorted(name for name in tree(tmp_path / "store") if name not in {"lock", "gate"}) == ["store.json"]
