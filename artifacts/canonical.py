"""One byte string for one value: canonical JSON, and the SHA-256 digests that name contents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import JsonValue

BLOCK_BYTES = 256 * 1024
"""Of a file at a time: larger blocks are read no faster, and the C library keeps a block's memory once it was freed."""


def canonical_json(value: JsonValue, *, indent: int | None = None) -> bytes:
    """UTF-8 JSON with sorted keys and a final newline: equal values give equal bytes.

    `indent` None is compact. Numbers print as Python's shortest round-tripping form, so 1 and 1.0 differ,
    and a reader gets back what was written. Raises ValueError for NaN and infinity, which JSON does not
    have, and for lone surrogates, which UTF-8 does not have.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    return text.encode("utf-8") + b"\n"


def sha256_bytes(data: bytes | memoryview) -> str:
    """Digest of a byte string or of a C-contiguous memory view."""
    return hashlib.sha256(data).hexdigest()


def sha256_blocks(blocks: Iterable[memoryview]) -> str:
    """Digest of blocks, one after the other."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def file_blocks(path: Path) -> Iterator[memoryview]:
    """A file's bytes; each block is good until the next one is asked for. Raises OSError."""
    block = memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            yield block[:count]


def sha256_file(path: Path) -> str:
    """Digest of a file, read in blocks. Raises OSError."""
    return sha256_blocks(file_blocks(path))
