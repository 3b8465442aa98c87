"""What a store has, without reading its shards."""

from __future__ import annotations

from dataclasses import dataclass

from artifacts.shard_store.claims import Claim, ClaimState
from artifacts.shard_store.store import SHARDS, ShardStore, stored_path, unusable


@dataclass(frozen=True)
class Contents:
    """Shards and their bytes, and each claim with its state and the bytes of its shards."""

    shards: int
    bytes: int
    bundles: tuple[tuple[Claim, ClaimState, int], ...]


def contents(store: ShardStore) -> Contents:
    """List a store. Raises StoreError."""
    try:
        claims = sorted(store.claims(), key=lambda claim: (claim.place, claim.manifest))
        sizes = {file.path: file.bytes for file in store.files.list(SHARDS)}
        bundles = [
            (claim, claim.state(), sum(sizes.get(stored_path(digest), 0) for digest in claim.shards))
            for claim in claims
        ]
    except OSError as error:
        raise unusable(store.files, error) from error
    return Contents(len(sizes), sum(sizes.values()), tuple(bundles))
