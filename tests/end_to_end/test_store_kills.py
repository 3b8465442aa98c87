"""SIGKILL at random points of many writers of one store: no wrong byte, no claim in vain, nothing reachable lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from artifacts.shard_store.claims import ClaimState
from artifacts.shard_store.collect import Tally, collect
from artifacts.shard_store.store import ShardStore
from artifacts.shard_store.verify import verify
from tests.support.cli import child_environment


def check_kills(folder: Path, kills: int, seed: int) -> None:
    command = [sys.executable, "-m", "tests.support.store_killing", str(folder), str(kills), str(seed)]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert not seen["errors"]
    assert set(seen["ended"]) <= {"write 0", "gc 0", "verify 0"}
    assert seen["killed"]["write"] >= kills
    assert min(seen["ended"]["write 0"], seen["ended"]["gc 0"]) > 0
    # Kills that all fell on one step would show little.
    assert len(seen["steps"]) >= 4

    store = ShardStore.open(folder / "store")
    assert not verify(store).problems
    bundles = [Bundle.open(path) for path in (folder / "bundles").iterdir() if not path.name.startswith(".")]
    assert bundles
    live = {(claim.place, claim.manifest) for claim in store.claims() if claim.state() is ClaimState.LIVE}
    assert live == {(str(bundle.root), bundle.manifest.digest) for bundle in bundles}

    collect(store)
    needed = {shard.sha256 for bundle in bundles for shard in bundle.manifest.weights.shards}
    assert {path.stem for path in (folder / "store" / "shards").rglob("*.safetensors")} == needed
    assert not [*(folder / "store").glob("drafts/*"), *(folder / "store").glob("writers/*")]
    assert not list((folder / "bundles").glob(".*/weights/*"))
    assert [Bundle.open(bundle.root) for bundle in bundles] == bundles

    assert not verify(store).problems
    again = collect(store)
    assert (again.removed, again.linked, again.awaited) == (Tally(), Tally(), Tally())
    assert (again.dead_claims, again.dead_writers, again.claimed.files) == ((), 0, len(needed))


def test_a_few_killed_writers(tmp_path: Path) -> None:
    check_kills(tmp_path / "run", 24, seed=1)


# About a minute each on two cores.
@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_two_hundred_killed_writers(tmp_path: Path, seed: int) -> None:
    check_kills(tmp_path / "run", 200, seed)
