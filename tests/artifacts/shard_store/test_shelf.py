"""Finished bundles in a store: in a folder, and at a URL in this process's memory."""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path
from typing import Any

import pytest

from artifacts.bundle import Bundle
from artifacts.canonical import canonical_json, sha256_bytes
from artifacts.errors import BundleError, StoreError
from artifacts.manifest import MANIFEST_FILE
from artifacts.shard_store.collect import collect
from artifacts.shard_store.files import StoreFiles
from artifacts.shard_store.shelf import BUNDLES, FILES, Shelf
from artifacts.shard_store.store import ShardStore, stored_path
from artifacts.shard_store.verify import verify
from tests.support import bundles
from tests.support.stores import content, share, tree

KEY, OTHER = sha256_bytes(b"key"), sha256_bytes(b"other key")


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ShardStore:
    where = str(tmp_path / "store") if request.param == "folder" else f"memory://{secrets.token_hex(8)}/zoo"
    return ShardStore.open(where, create=True)


@pytest.fixture
def shelf(store: ShardStore) -> Shelf:
    return Shelf(store)


@pytest.fixture
def bundle(store: ShardStore, tmp_path: Path) -> Bundle:
    """A bundle that shares its weights with the store."""
    return share(store, tmp_path / "made" / "b", {"w": content(1), "v": content(2)})


def paths(files: StoreFiles, folder: str) -> list[str]:
    return [file.path for file in files.list(folder)]


def record(key: str = KEY) -> str:
    return f"{BUNDLES}/{key[:2]}/{key}.json"


def placed(manifest: Any, path: str) -> str:
    """Where a file of a bundle that is no shard lies in the store."""
    digest = manifest.files[path].sha256
    return f"{FILES}/{digest[:2]}/{digest}"


def rewritten(files: StoreFiles, path: str, data: bytes) -> None:
    files.delete(path)
    files.write(path, data)


def test_what_is_put_is_taken_with_equal_bytes(shelf: Shelf, bundle: Bundle, tmp_path: Path) -> None:
    assert shelf.is_empty()
    shelf.put(KEY, bundle)
    assert not shelf.is_empty()
    before = tree(bundle.root)
    shutil.rmtree(bundle.root)
    taken = shelf.take(KEY, tmp_path / "deep" / "taken")
    assert taken is not None
    assert taken == Bundle.open(tmp_path / "deep" / "taken")
    assert tree(taken.root) == before, "and what is told of how it was built"
    assert [path.name for path in taken.root.parent.iterdir()] == ["taken"]


def test_a_bundle_that_is_taken_claims_its_shards(shelf: Shelf, bundle: Bundle, tmp_path: Path) -> None:
    shelf.put(KEY, bundle)
    assert shelf.take(KEY, tmp_path / "taken") is not None
    shutil.rmtree(bundle.root)
    assert collect(shelf.store).removed.files == 0
    assert verify(shelf.store).problems == ()


def test_a_folder_and_its_bundles_have_one_copy_of_a_shard(bundle: Bundle, tmp_path: Path) -> None:
    store = ShardStore.open(tmp_path / "links", create=True)
    made = share(store, tmp_path / "a", {"w": content(1)})
    Shelf(store).put(KEY, made)
    taken = Shelf(store).take(KEY, tmp_path / "b")
    assert taken is not None
    (shard,) = made.manifest.weights.shards
    assert (made.root / shard.path).samefile(taken.root / shard.path)
    assert not (made.root / "engines/e.onnx").samefile(taken.root / "engines/e.onnx")


def test_another_key_is_not_there(shelf: Shelf, bundle: Bundle, tmp_path: Path) -> None:
    assert shelf.take(KEY, tmp_path / "taken") is None
    shelf.put(OTHER, bundle)
    assert shelf.take(KEY, tmp_path / "taken") is None
    assert not (tmp_path / "taken").exists()


def test_a_bundle_without_a_report(shelf: Shelf, bundle: Bundle, tmp_path: Path) -> None:
    (bundle.root / "build.json").unlink()
    shelf.put(KEY, bundle)
    taken = shelf.take(KEY, tmp_path / "taken")
    assert taken is not None
    assert taken.report() is None


def test_a_bundle_that_is_there_is_replaced(shelf: Shelf, bundle: Bundle, tmp_path: Path) -> None:
    shelf.put(KEY, bundle)
    share(shelf.store, tmp_path / "taken", {"w": content(9)})
    taken = shelf.take(KEY, tmp_path / "taken")
    assert taken is not None
    assert tree(tmp_path / "taken") == tree(bundle.root)


def test_something_else_that_is_there_stays(shelf: Shelf, bundle: Bundle, tmp_path: Path) -> None:
    shelf.put(KEY, bundle)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes").write_text("mine")
    with pytest.raises(BundleError):
        shelf.take(KEY, tmp_path / "taken")
    assert tree(tmp_path / "taken") == {"notes": b"mine"}


DAMAGES = ["engine gone", "engine flipped", "engine short", "shard gone", "shard flipped", "record gone", "record cut"]


def damage(files: StoreFiles, bundle: Bundle, what: str) -> None:
    thing, how = what.split()
    shard = stored_path(bundle.manifest.weights.shards[0].sha256)
    path = {"engine": placed(bundle.manifest, "engines/e.onnx"), "shard": shard, "record": record()}[thing]
    data = files.read(path)
    match how:
        case "gone":
            files.delete(path)
        case "flipped":
            rewritten(files, path, data[:-1] + bytes([data[-1] ^ 1]))
        case _:
            rewritten(files, path, data[:-2])


@pytest.mark.parametrize("what", DAMAGES)
@pytest.mark.parametrize("is_there", [False, True])
def test_what_is_not_whole_is_not_taken_and_leaves_nothing(
    shelf: Shelf, bundle: Bundle, tmp_path: Path, what: str, is_there: bool
) -> None:
    shelf.put(KEY, bundle)
    target = tmp_path / "there" / "taken"
    if is_there:
        share(shelf.store, target, {"w": content(9)})
    before = tree(tmp_path / "there")
    damage(shelf.store.files, bundle, what)
    assert shelf.take(KEY, target) is None
    assert tree(tmp_path / "there") == before
    assert target.exists() == is_there
    if not is_there:
        assert not target.parent.exists() or list(target.parent.iterdir()) == []


@pytest.mark.parametrize("what", ["engine gone", "engine short", "record gone", "record cut"])
def test_what_is_not_whole_is_mended_by_who_puts_it_again(
    shelf: Shelf, bundle: Bundle, tmp_path: Path, what: str
) -> None:
    """As far as a place can tell without sending what it has: not every one knows of a flipped byte."""
    shelf.put(KEY, bundle)
    damage(shelf.store.files, bundle, what)
    shelf.put(KEY, bundle)
    taken = shelf.take(KEY, tmp_path / "taken")
    assert taken is not None
    assert tree(taken.root) == tree(bundle.root)


NO_RECORDS = [b"", b"3", b"[]", b"{}", b"null", b'{"manifest": 3, "report": null}', b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("data", NO_RECORDS, ids=range(len(NO_RECORDS)))
def test_a_record_that_is_none(shelf: Shelf, tmp_path: Path, data: bytes) -> None:
    shelf.store.files.write(record(), data)
    assert shelf.take(KEY, tmp_path / "taken") is None
    assert shelf.clean([KEY]) == len(data)
    assert shelf.is_empty()


@pytest.mark.parametrize("path", ["../escaped", "/escaped", "engines/../../escaped"])
def test_no_record_leads_out_of_the_bundle(shelf: Shelf, bundle: Bundle, tmp_path: Path, path: str) -> None:
    shelf.put(KEY, bundle)
    files = shelf.store.files
    document = json.loads(files.read(record()))
    document["manifest"]["files"][path] = document["manifest"]["files"]["engines/e.onnx"]
    rewritten(files, record(), canonical_json(document))
    assert shelf.take(KEY, tmp_path / "t" / "taken") is None
    assert not list(tmp_path.rglob("escaped"))
    assert not (tmp_path / "t" / "taken").exists()


def test_each_content_is_there_once(shelf: Shelf, bundle: Bundle, tmp_path: Path) -> None:
    shelf.put(KEY, bundle)
    shelf.put(OTHER, share(shelf.store, tmp_path / "other", {"w": content(3)}))
    shelf.put(KEY, bundle)
    assert paths(shelf.store.files, BUNDLES) == sorted([record(KEY), record(OTHER)])
    assert paths(shelf.store.files, FILES) == [placed(bundle.manifest, "engines/e.onnx")]


def test_what_is_cleaned_is_what_no_key_needs(shelf: Shelf, bundle: Bundle, tmp_path: Path) -> None:
    files = shelf.store.files
    other = bundles.write(tmp_path / "other", {"m": bundles.linear()})
    shelf.put(KEY, bundle)
    shelf.put(OTHER, other)
    files.write(f"{FILES}/no/nobodys", b"123")
    shards = paths(files, "shards")
    unshared = {shard.path for shard in other.manifest.weights.shards}
    expected = 3 + len(files.read(record(OTHER)))
    expected += sum(entry.bytes for path, entry in other.manifest.files.items() if path not in unshared)

    before = paths(files, "")
    assert shelf.clean([KEY], dry_run=True) == expected
    assert paths(files, "") == before
    assert shelf.clean([KEY]) == expected
    assert paths(files, BUNDLES) == [record()]
    assert paths(files, FILES) == [placed(bundle.manifest, "engines/e.onnx")]
    assert paths(files, "shards") == shards, "these are for gc"
    assert shelf.take(KEY, tmp_path / "taken") is not None
    assert shelf.clean([KEY]) == 0
    shelf.clean([])
    assert (shelf.is_empty(), paths(files, FILES)) == (True, [])


def test_what_two_bundles_have_stays_with_one_of_them(shelf: Shelf, bundle: Bundle, tmp_path: Path) -> None:
    shelf.put(KEY, bundle)
    shelf.put(OTHER, share(shelf.store, tmp_path / "other", {"w": content(3)}))
    shelf.clean([KEY])
    taken = shelf.take(KEY, tmp_path / "taken")
    assert taken is not None
    assert (taken.root / "engines/e.onnx").read_bytes() == b"engine"


def test_the_store_is_well_with_bundles_in_it(shelf: Shelf, bundle: Bundle) -> None:
    shelf.put(KEY, bundle)
    assert verify(shelf.store).problems == ()
    assert collect(shelf.store).removed.files == 0
    assert not shelf.is_empty(), "gc leaves them"


def test_a_place_that_refuses_is_one_error(tmp_path: Path) -> None:
    store = ShardStore.open(tmp_path / "store", create=True)
    bundle = share(store, tmp_path / "b", {"w": content(1)})
    (tmp_path / "store" / BUNDLES).touch()
    with pytest.raises(StoreError, match="cannot be used"):
        Shelf(store).put(KEY, bundle)
    with pytest.raises(StoreError, match="cannot be used"):
        Shelf(store).take(KEY, tmp_path / "taken")
    assert not (tmp_path / "taken" / MANIFEST_FILE).exists()
