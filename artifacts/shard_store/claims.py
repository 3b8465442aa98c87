"""Who needs which shards: bundles that are in place, and writers that have not put theirs there."""

from __future__ import annotations

import json
import os
import platform
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError

from artifacts.canonical import canonical_json, sha256_bytes
from artifacts.errors import Problem, StoreError
from artifacts.manifest import MANIFEST_FILE
from artifacts.names import Sha256
from artifacts.noun import Noun, fault_problems

STAGE = "store"
CLAIMS = "claims"


class ClaimState(StrEnum):
    """What can be said about the bundle of a claim from here."""

    LIVE = "live"
    """It is there."""
    DEAD = "dead"
    """It is not: it was removed or moved, another one is in its place, or its writer died before it was there."""
    UNSEEN = "unseen"
    """Its place belongs to another host or cannot be read. Then it counts as live."""


class Needs(Noun):
    """The shards of a bundle, by digest, and where it is or will be: an absolute path of a host."""

    host: str
    place: Annotated[str, Field(min_length=1)]
    shards: tuple[Sha256, ...]

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> Self:
        """Read a document of the store. Raises StoreError with every fault."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            faults = "; ".join(f"{fault.subject}: {fault.message}" for fault in fault_problems(STAGE, "it", error))
            hint = "remove it, and compile its bundle again with --store, or whose it was cannot be told"
            raise StoreError(Problem(STAGE, path, f"cannot be read: {faults}", hint)) from error

    def to_bytes(self) -> bytes:
        """The canonical document."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def is_here(self) -> bool:
        """Whether the place is one of this host."""
        return self.host == this_host()


class Claim(Needs):
    """A bundle that is in place, or is about to be: `manifest` is the digest of its manifest."""

    manifest: Sha256

    @property
    def path(self) -> str:
        """Where the claim is in its store. A bundle that replaces another at one place has a claim of its own."""
        return f"{CLAIMS}/{sha256_bytes(canonical_json([self.host, self.place, self.manifest]))[:32]}.json"

    def state(self) -> ClaimState:
        """Look whether the bundle is there."""
        if not self.is_here:
            return ClaimState.UNSEEN
        try:
            document = json.loads((Path(self.place) / MANIFEST_FILE).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return ClaimState.DEAD
        except (OSError, ValueError, RecursionError):  # ValueError: damaged, and so not known to be another's
            return ClaimState.UNSEEN
        same = isinstance(document, dict) and document.get("digest") == self.manifest
        return ClaimState.LIVE if same else ClaimState.DEAD


def this_host() -> str:
    """The name that claims know this machine by."""
    return platform.node()


def place_of(destination: str | os.PathLike[str]) -> str:
    """The absolute path of a bundle, with links above it resolved, as a bundle's writer resolves them."""
    given = Path(destination).absolute()
    return str(given.parent.resolve() / given.name)
