from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from artifacts.shard_store.store import ShardStore, stored_path
from artifacts.shard_store.verify import verify
from tests.support.stores import content, share


@pytest.fixture
def store(tmp_path: Path) -> ShardStore:
    return ShardStore.open(tmp_path / "store", create=True)


@pytest.fixture
def bundle(tmp_path: Path, store: ShardStore) -> Bundle:
    return share(store, tmp_path / "b", {"w": content(1), "v": content(2)})


def test_a_sound_store_is_read_whole(store: ShardStore, bundle: Bundle) -> None:
    seen: list[tuple[int, int]] = []
    found = verify(store, lambda done, total: seen.append((done, total)))
    size = sum(shard.bytes for shard in bundle.manifest.weights.shards)
    assert (found.shards, found.bytes, found.live, found.dead, found.problems) == (2, size, 1, 0, ())
    assert seen[-1] == (size, size)


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path, store: ShardStore, bundle: Bundle) -> None:
    folder = tmp_path / "store"
    changed, missing = (folder / stored_path(shard.sha256) for shard in bundle.manifest.weights.shards)
    changed.chmod(0o644)
    changed.write_bytes(changed.read_bytes()[::-1])
    missing.unlink()
    (folder / "shards" / "notes.txt").write_text("mine")
    (folder / "claims" / "other.json").write_text("[]")
    found = {problem.subject: problem.message for problem in verify(store).problems}
    assert set(found) == {
        changed.relative_to(folder).as_posix(),
        missing.relative_to(folder).as_posix(),
        "shards/notes.txt",
        "claims/other.json",
    }
    assert str(bundle.root) in found[changed.relative_to(folder).as_posix()]


def test_a_bundle_has_to_hold_what_it_claims(tmp_path: Path, store: ShardStore, bundle: Bundle) -> None:
    (claim,) = (tmp_path / "store" / "claims").iterdir()
    document = json.loads(claim.read_text())
    claim.write_text(json.dumps({**document, "shards": document["shards"][:1]}))
    (problem,) = verify(store).problems
    assert (problem.subject, problem.message) == (str(bundle.root), "does not hold the shards that it claims")
    claim.write_text(json.dumps({**document, "place": str(tmp_path / "link")}))
    (tmp_path / "link").symlink_to(bundle.root)
    (problem,) = verify(store).problems
    assert "another name" in problem.message


def test_a_bundle_that_is_gone_is_no_fault(store: ShardStore, bundle: Bundle) -> None:
    shutil.rmtree(bundle.root)
    found = verify(store)
    assert (found.live, found.dead, found.problems) == (0, 1, ())
