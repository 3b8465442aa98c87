"""Puts the weights of one bundle into a store, and claims them for it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from artifacts.bundle import Bundle
from artifacts.manifest import Manifest
from artifacts.mapped_pages import give_back_pages
from artifacts.shard_store.claims import Claim, Needs, place_of, this_host
from artifacts.shard_store.files import Parts
from artifacts.shard_store.local import WRITERS
from artifacts.shard_store.shard_file import shard_file
from artifacts.shard_store.store import ShardStore, stored_path, unusable
from artifacts.shards import WEIGHTS_FOLDER, Shard, ShardIndex, write_shards
from artifacts.weights import WeightRef, WeightStore


class ShardWriter(Protocol):
    """Where a bundle's weights go while it is made: shards of its own, or those of a store."""

    @property
    def notices(self) -> Sequence[str]:
        """What people should know about them."""

    def write_shards(self, weights: WeightStore, refs: Iterable[WeightRef], root: Path) -> ShardIndex:
        """Write every blob that the references reach to `root/weights/NAME.safetensors`."""

    def claim(self, manifest: Manifest) -> AbstractContextManager[None]:
        """The bundle with this manifest is put in place inside the block."""


@dataclass(frozen=True)
class OwnShards:
    """Shards that no other bundle has to do with. Few of them, and so small manifests."""

    notices: ClassVar[Sequence[str]] = ()

    def write_shards(self, weights: WeightStore, refs: Iterable[WeightRef], root: Path) -> ShardIndex:
        """See `artifacts.shards.write_shards`."""
        return write_shards(weights, refs, root)

    def claim(self, manifest: Manifest) -> AbstractContextManager[None]:  # noqa: ARG002 - nobody else needs them
        """Nothing to tell anyone."""
        return contextlib.nullcontext()


@dataclass(eq=False)
class StoreWriter:
    """Shares the shards of the bundle that will be at `destination`. Made by `share_shards`."""

    store: ShardStore
    destination: Path
    _announced: contextlib.ExitStack
    notices: list[str] = field(default_factory=list)

    def write_shards(self, weights: WeightStore, refs: Iterable[WeightRef], root: Path) -> ShardIndex:
        """Every blob that the references reach, in the store and linked to `root/weights/NAME.safetensors`.

        One tensor a shard, in order of their digests. `root` is the folder in which the bundle is made. Raises
        KeyError if a content is missing, StoreError if the store cannot be written, OSError if `root` cannot.
        """
        made = [shard_file(digest, weights.blobs[digest]) for digest in sorted({ref.digest for ref in refs})]
        if made:
            (root / WEIGHTS_FOLDER).mkdir(parents=True, exist_ok=True)
        self.share({file.shard: file.parts for file in made}, root)
        return ShardIndex({file.shard: file.tensors for file in made})

    def share(self, files: Mapping[Shard, Parts], root: Path) -> None:
        """Let the store have these shards, and the folder at `root` links to them; copies where it cannot link.

        A file that is at a shard's path already must be that shard. A stored one that was damaged is replaced.
        Raises StoreError, or OSError if `root` cannot be written.
        """
        needs = Needs(host=this_host(), place=place_of(self.destination), shards=_digests(files))
        place = self.store.files
        unlinked = 0
        try:
            document = f"{WRITERS}/{os.getpid()}-{secrets.token_hex(8)}.json"
            self._announced.enter_context(place.announce(document, needs.to_bytes()))
            with place.writing():
                for shard, parts in files.items():
                    self._put(shard, parts)
                    unlinked += not self._link(shard, parts, root)
                    for part in parts:
                        give_back_pages(part)
        except OSError as error:
            if error.filename is not None and Path(os.fsdecode(error.filename)).is_relative_to(root):
                raise
            raise unusable(place, error) from error
        if unlinked:
            self.notices.append(
                f"{unlinked} of {len(files)} shards are copies: {place.location} cannot be hard-linked from "
                f"{self.destination.parent}"
            )

    def _put(self, shard: Shard, parts: Parts) -> None:
        path = stored_path(shard.sha256)
        if self.store.files.holds(path, parts):
            return
        # Another writer may have put it there since; one that was there before is not what its name says.
        if not self.store.files.put(path, parts) and not self.store.files.holds(path, parts):
            self.notices.append(f"a damaged shard was replaced: {path} in {self.store.files.location}")
            self.store.files.put(path, parts, replace=True)

    def _link(self, shard: Shard, parts: Parts, root: Path) -> bool:
        target = root / shard.path
        if self.store.files.link(stored_path(shard.sha256), target):
            return True
        if not target.exists():
            with target.open("wb") as stream:
                for part in parts:
                    stream.write(part.data)
        return False

    @contextlib.contextmanager
    def claim(self, manifest: Manifest) -> Iterator[None]:
        """Put the bundle in place inside the block: its claim is written before, and both are under one lock.

        A claim whose bundle never came is dead, and gc removes it. Raises StoreError.
        """
        claim = Claim(
            host=this_host(),
            place=place_of(self.destination),
            manifest=manifest.digest,
            shards=tuple(sorted({shard.sha256 for shard in manifest.weights.shards})),
        )
        place = self.store.files
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(place.writing())
                place.write(claim.path, claim.to_bytes())
            except OSError as error:
                raise unusable(place, error) from error
            yield


@contextlib.contextmanager
def share_shards(store: ShardStore, destination: str | os.PathLike[str]) -> Iterator[StoreWriter]:
    """Share the weights of a bundle that is being made: `write_shards`, and then its commit inside `claim`.

    Until the block ends, gc keeps what was shared in it. Enter it around `write_bundle`: what a writer leaves beside
    its destination is found by what it announced, which must not go first.
    """
    with contextlib.ExitStack() as announced:
        yield StoreWriter(store, Path(destination), announced)


def adopt(store: ShardStore, bundle: Bundle) -> tuple[str, ...]:
    """Let a bundle that is in place share its shards with a store. Returns notices. Raises StoreError, OSError.

    The bundle must have been opened with its digests verified. Each of its shards is replaced by a link to the same
    bytes, in one step, so that the bundle can be in use.
    """
    shards = bundle.manifest.weights.shards
    with share_shards(store, bundle.root) as writer:
        writer.share({shard: (np.memmap(bundle.root / shard.path, np.uint8, "r"),) for shard in shards}, bundle.root)
        with writer.claim(bundle.manifest):
            return tuple(writer.notices)


def _digests(files: Iterable[Shard]) -> tuple[str, ...]:
    return tuple(sorted({shard.sha256 for shard in files}))
