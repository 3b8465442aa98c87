"""What a store asks of the place that it lies in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Parts = Sequence[npt.NDArray[np.uint8]]
"""The bytes of a file, uint8 [n] each, one after the other."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a store: its path there, its size, and whether it has a hard link besides the one in the store."""

    path: str
    bytes: int
    is_linked: bool


@dataclass(frozen=True)
class Announcement:
    """What a writer said that it needs, and whether it may still be alive."""

    path: str
    data: bytes
    is_live: bool


class StoreFiles(Protocol):
    """Files by POSIX paths relative to the store. Every method raises OSError if the place refuses.

    Reads need no lock. What a writer relies on it looks at in `writing`, what gc removes it removes in `collecting`;
    neither starves the other. No `writing` begins while somebody collects. One that began before may go on if it was
    announced: then gc, which reads what is announced before it reads claims, leaves alone what was announced.
    """

    @property
    def location(self) -> str:
        """The place as people name it, without credentials."""

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Every file below a folder, in order of their paths; none if the folder is not there."""

    def holds(self, path: str, parts: Parts) -> bool:
        """True if the file is there and has exactly these bytes, as far as the place can tell without sending them."""

    def put(self, path: str, parts: Parts, *, replace: bool = False) -> bool:
        """Make a file whole or not at all, durable, read-only. False if one is there, which stays unless `replace`."""

    def link(self, path: str, target: Path) -> bool:
        """Make `target` a hard link to the file, whatever was there. False, with nothing done, where that cannot be."""

    def blocks(self, path: str) -> Iterator[memoryview]:
        """A file's bytes; each block is good until the next one is asked for. Raises FileNotFoundError."""

    def read(self, path: str) -> bytes:
        """A small document. Raises FileNotFoundError."""

    def write(self, path: str, data: bytes) -> None:
        """A small document, whole or not at all, durable, in place of one that is there."""

    def delete(self, path: str) -> None:
        """Remove a file; nothing if it is not there."""

    def announce(self, path: str, data: bytes) -> AbstractContextManager[None]:
        """Show a document of a writer for as long as the block and the process last. Called outside `writing`."""

    def announced(self) -> Iterator[Announcement]:
        """The documents of writers. Called in `collecting`; those of dead writers are for the caller to delete."""

    def writing(self) -> AbstractContextManager[None]:
        """Begins when nobody collects. Any number of writers may be in one. Called by who has announced itself."""

    def collecting(self) -> AbstractContextManager[None]:
        """While the block lasts nobody else collects, and nobody begins to write."""

    def sweep(self) -> None:
        """Remove drafts of writers that are dead. Called in `collecting`."""

    def unlock(self) -> bool:
        """Remove what a gc that was killed left and that keeps others out. False if there was nothing."""
