"""Reads a whole store, and says everything that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from artifacts.canonical import sha256_blocks
from artifacts.errors import Problem, StoreError
from artifacts.manifest import MANIFEST_FILE
from artifacts.shard_store.claims import CLAIMS, STAGE, Claim, ClaimState
from artifacts.shard_store.progress import Progress
from artifacts.shard_store.store import SHARDS, ShardStore, stored_path, unusable


@dataclass(frozen=True)
class Verified:
    """How much was read, and what was found; `dead` claims are no fault, and gc removes them."""

    shards: int
    bytes: int
    live: int
    unseen: int
    dead: int
    problems: tuple[Problem, ...]


def verify(store: ShardStore, progress: Progress | None = None) -> Verified:
    """Every shard has the digest that names it, every claim of a bundle that is there its shards, and that bundle them.

    Nobody has to wait meanwhile: claims are read before shards, and a shard is there before its claim. Raises
    StoreError if the store cannot be read; what is wrong with it is in the answer.
    """
    try:
        return _verified(store, progress)
    except OSError as error:
        raise unusable(store.files, error) from error


def _verified(store: ShardStore, progress: Progress | None) -> Verified:
    states: dict[Claim, ClaimState] = {}
    problems: list[Problem] = []
    try:
        for claim in store.claims():
            states[claim] = claim.state()
    except StoreError as error:
        problems += error.problems
    names = {file.path for file in store.files.list(CLAIMS)}
    files = {file.path: file for file in store.files.list(SHARDS)}
    total = sum(file.bytes for file in files.values())
    done = 0
    for path, file in files.items():
        problems += _faults_of_shard(store, path, states)
        done += file.bytes
        if progress:
            progress(done, total)
    for claim, state in states.items():
        if claim.path not in names and state is not ClaimState.DEAD:
            problems.append(Problem(STAGE, claim.place, "its claim has another name than it should have"))
        if state is ClaimState.DEAD:
            continue
        missing = [digest for digest in claim.shards if stored_path(digest) not in files]
        # Bundles come and go while shards are read.
        if claim.state() is ClaimState.DEAD:
            continue
        hint = "compile it again with --store and --force"
        problems += [Problem(STAGE, stored_path(d), f"is missing, and {claim.place} claims it", hint) for d in missing]
        if state is ClaimState.LIVE and not _refers_to(claim):
            problems.append(Problem(STAGE, claim.place, "does not hold the shards that it claims", hint))
    counts = list(states.values())
    return Verified(
        shards=len(files),
        bytes=total,
        live=counts.count(ClaimState.LIVE),
        unseen=counts.count(ClaimState.UNSEEN),
        dead=counts.count(ClaimState.DEAD),
        problems=tuple(problems),
    )


def _faults_of_shard(store: ShardStore, path: str, states: dict[Claim, ClaimState]) -> Iterator[Problem]:
    name = Path(path).name.removesuffix(".safetensors")
    if stored_path(name) != path:
        yield Problem(STAGE, path, "is not a shard's name", "nobody needs it: remove it")
        return
    try:
        digest = sha256_blocks(store.files.blocks(path))
    except FileNotFoundError:  # gc came in between
        return
    except OSError as error:
        yield Problem(STAGE, path, f"cannot be read: {error.strerror}")
        return
    if digest == name:
        return
    places = [c.place for c, state in states.items() if state is not ClaimState.DEAD and name in c.shards]
    needed = f", and {', '.join(places)} need it" if places else ""
    again = "remove it, and compile what needs it again with --store and --force"
    hint = again if places else "run gc, or remove it"
    yield Problem(STAGE, path, f"was changed or damaged: its digest is not its name{needed}", hint)


def _refers_to(claim: Claim) -> bool:
    """Whether the bundle, of whatever schema version, lists exactly the claimed shards."""
    try:
        document = json.loads((Path(claim.place) / MANIFEST_FILE).read_bytes())
        return tuple(sorted({shard["sha256"] for shard in document["weights"]["shards"]})) == claim.shards
    except (OSError, ValueError, KeyError, TypeError):
        return False
