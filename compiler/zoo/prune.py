"""Removes what a zoo does not need any more."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass

from artifacts.bundle import Bundle
from artifacts.errors import BundleError
from artifacts.shard_store.collect import collect
from artifacts.shard_store.shelf import Shelf
from artifacts.shard_store.store import ShardStore
from compiler.zoo.build import Place
from compiler.zoo.read import Zoo


@dataclass(frozen=True)
class Pruned:
    """The bundles that were removed, and the bytes of the store that were: or would be, in a dry run."""

    bundles: tuple[str, ...]
    bytes: int


def prune(zoo: Zoo, place: Place, *, dry_run: bool = False) -> Pruned:
    """Remove bundles of jobs that the zoo does not have, kept bundles that are no job's, and shards of nobody.

    A folder that is no bundle is left alone. Raises StoreError.
    """
    kept = place.ledger.kept()
    jobs = {job.name for job in zoo.jobs}
    strays = [name for name in sorted(kept.keys() - jobs) if _is_bundle(place, name)]
    if not dry_run:
        for name in strays:
            folder = place.root / name
            shutil.rmtree(folder)
            with contextlib.suppress(OSError):  # other bundles of its entry are there
                folder.parent.rmdir()
        place.ledger.forget(sorted(kept.keys() - jobs))
    store = ShardStore.open(place.store)
    shelf = Shelf(store)
    keys = {each.key for name, each in kept.items() if name in jobs}
    freed = shelf.clean(keys, dry_run=dry_run)
    return Pruned(tuple(strays), freed + collect(store, dry_run=dry_run).removed.bytes)


def _is_bundle(place: Place, name: str) -> bool:
    try:
        Bundle.open(place.root / name, verify=False)
    except BundleError:
        return False
    return True
