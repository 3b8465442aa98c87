"""Where a saved engine of ONNX Runtime has its weights in the file beside it, and how to move them there.

ONNX Runtime writes them one behind the other, without regard to what its kernels need: those of AVX-512 read packed
weights with instructions that end the process where an address is no multiple of 64, and packed blocks are of sizes
that are none. The engine is read without a parser: it names a place in decimal digits, and a new place has as many.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ALIGNMENT = 64

_LARGEST_GAP = 1 << 16
"""More than ONNX Runtime leaves between two weights: it begins large ones at a page, which may be of 64 KiB."""

_TENSOR = re.compile(rb"\n\x06offset\x12.(?P<offset>\d+)\x1a?.{0,4}?\n\x06length\x12.(?P<length>\d+)", re.DOTALL)
"""A tensor's external data: entries of a map, key and value, one after the other."""

_PACKED = re.compile(rb"\|(?P<offset>\d+);(?P<length>\d+);\d")
"""Packed weights: KERNEL+HASH|OFFSET;BYTES;CHECKSUM."""


def is_aligned(engine: Path) -> bool:
    """Whether all packed weights of a saved engine begin at multiples of 64 bytes in the file that is mapped."""
    return all(int(found["offset"]) % ALIGNMENT == 0 for found in _PACKED.finditer(engine.read_bytes()))


def align(engine: Path, weights: Path) -> bool:
    """Move all weights to multiples of 64 bytes, if the engine's own numbers leave room for them; whether it did.

    Nothing is changed unless everything in the file but zeros is named by the engine, and no byte twice.
    """
    written = engine.read_bytes()
    pieces = dict(sorted((int(found["offset"]), int(found["length"])) for found in _named(written)))
    moved = new_places(pieces) if _are_all(pieces, weights) else None
    if moved is None:
        return False
    draft = weights.with_name(f"{weights.name}.moved")
    with weights.open("rb") as source, draft.open("wb") as target:
        for offset, length in pieces.items():
            source.seek(offset)
            target.seek(moved[offset])
            target.write(source.read(length))
    draft.replace(weights)
    changed = bytearray(written)
    for found in _named(written):
        begin, end = found.span("offset")
        changed[begin:end] = str(moved[int(found["offset"])]).encode()
    engine.write_bytes(changed)
    return True


def new_places(pieces: Mapping[int, int]) -> dict[int, int] | None:
    """A multiple of 64 for each piece, length by old place, that is written in as many digits; None if there is none.

    They keep their order, and none overlaps another.
    """
    places, end = dict[int, int](), 0
    for offset in sorted(pieces):
        digits = len(str(offset))
        least = 0 if digits == 1 else 10 ** (digits - 1)
        places[offset] = -(-max(end, least) // ALIGNMENT) * ALIGNMENT
        if len(str(places[offset])) != digits:
            return None
        end = places[offset] + pieces[offset]
    return places


def _named(engine: bytes) -> Iterator[re.Match[bytes]]:
    yield from itertools.chain(_TENSOR.finditer(engine), _PACKED.finditer(engine))


def _are_all(pieces: Mapping[int, int], weights: Path) -> bool:
    """Whether the pieces do not overlap, and the file has nothing but zeros beside them."""
    end = 0
    with weights.open("rb") as file:
        for offset, length in (*pieces.items(), (weights.stat().st_size, 0)):
            if not 0 <= offset - end <= _LARGEST_GAP:
                return False
            file.seek(end)
            if any(file.read(offset - end)):
                return False
            end = offset + length
    return True
