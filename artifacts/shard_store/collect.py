"""Removes what no bundle can reach."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from artifacts.bundle_writer import sweep_abandoned
from artifacts.errors import StoreError
from artifacts.shard_store.claims import Claim, ClaimState, Needs
from artifacts.shard_store.progress import Progress
from artifacts.shard_store.store import SHARDS, ShardStore, stored_path, unusable


@dataclass(frozen=True)
class Tally:
    """How many files, and their bytes."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.files + other.files, self.bytes + other.bytes)


@dataclass(frozen=True)
class Collected:
    """What gc removed, or would remove, and why it kept the rest: each shard is counted once.

    `linked` are shards that nobody claims and that have another hard link: a bundle was moved, or copied with links.
    """

    removed: Tally
    claimed: Tally
    awaited: Tally
    linked: Tally
    dead_claims: tuple[Claim, ...]
    dead_writers: int


def collect(store: ShardStore, *, dry_run: bool = False, progress: Progress | None = None) -> Collected:
    """Remove shards that no bundle that is there claims or links to, and no living writer needs; `dry_run` only tells.

    It waits until nobody is putting shards or a bundle in place. What a dead writer left beside its bundle's place is
    removed as well; a dry run cannot look behind that, and counts shards that are linked there as linked. Raises
    StoreError; in particular before anything is removed if a claim cannot be read.
    """
    try:
        with store.files.collecting():
            return _collected(store, dry_run, progress)
    except OSError as error:
        raise unusable(store.files, error) from error


def _collected(store: ShardStore, dry_run: bool, progress: Progress | None) -> Collected:
    # In this order: a writer's claim is there before its announcement goes.
    announced = list(store.files.announced())
    states = {claim: claim.state() for claim in store.claims()}
    awaiting = [Needs.from_bytes(said.data, said.path) for said in announced if said.is_live]
    awaited = {stored_path(digest) for needs in awaiting for digest in needs.shards}
    # What a writer claims that has not put its bundle in place yet looks dead.
    coming = {(needs.host, needs.place) for needs in awaiting}
    dead = tuple(
        claim for claim, state in states.items() if state is ClaimState.DEAD and (claim.host, claim.place) not in coming
    )
    claimed = {stored_path(digest) for claim in states.keys() - set(dead) for digest in claim.shards}
    dead_writers = 0
    for said in announced:
        if said.is_live:
            continue
        dead_writers += 1
        if not dry_run:
            _bury(store, said.path, said.data)
    tallies: dict[str, Tally] = defaultdict(Tally)
    if not dry_run:
        store.files.sweep()
        for claim in dead:
            store.files.delete(claim.path)
    files = list(store.files.list(SHARDS))
    total, done = sum(file.bytes for file in files), 0
    for file in files:
        if file.path in claimed:
            fate = "claimed"
        elif file.path in awaited:
            fate = "awaited"
        elif file.is_linked:
            fate = "linked"
        else:
            fate = "removed"
            if not dry_run:
                store.files.delete(file.path)
        tallies[fate] += Tally(1, file.bytes)
        done += file.bytes
        if progress:
            progress(done, total)
    return Collected(
        removed=tallies["removed"],
        claimed=tallies["claimed"],
        awaited=tallies["awaited"],
        linked=tallies["linked"],
        dead_claims=dead,
        dead_writers=dead_writers,
    )


def _bury(store: ShardStore, path: str, data: bytes) -> None:
    """Remove what a dead writer left: the folder that it made its bundle in has links, and then what it announced."""
    with contextlib.suppress(StoreError):  # it may have died before all of it was written
        needs = Needs.from_bytes(data, path)
        if needs.is_here:
            with contextlib.suppress(OSError):  # the folder may be gone, or not be ours
                sweep_abandoned(Path(needs.place))
    store.files.delete(path)
