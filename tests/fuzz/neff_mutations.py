"""Damage to NEFFs and traced models: to any byte, or within, with a header and checksums that then agree again."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.support.mutations import BYTE_MUTATIONS, ODD_NAMES, ODD_SIZES
from tests.support.neff import FILE_NAME, TRACED_NAME, NeffFixture, sound_members, tar_bytes, traced_bytes

_BLOCK = 512
_ODD_SIZES = (*(size % (1 << 64) for size in ODD_SIZES), 1024, 1025, (1 << 64) - 1)
_ODD_JSON = (b"[" * 5000, b'{"var":{"a":{"type":"input","size":-1}}}', b'{"var":[]}', b"NaN", b'"\\ud800"', b"9" * 6000)
_TYPES = b"\x0001234567LKSxgX~"


def damaged_neff(random: Random, folder: Path) -> tuple[Path, str]:
    """Write a damaged file into a folder; the file, and what was done to it."""
    compressed, package = random.random() < 0.5, random.choice((1, 2))
    make = random.choice((_bytes, _bytes, _stored, _archive, _archive, _tar_header, _tar_header, _json, _header))
    data = make(random, NeffFixture(compressed=compressed, package=package))
    done = make.__name__
    traced = random.random() < 0.3
    if traced:
        data = traced_bytes(NeffFixture().to_bytes(), data)
        if random.random() < 0.5:
            data, done = _changed(random, data), f"{done}, then the traced model"
    path = folder / (TRACED_NAME if traced else FILE_NAME)
    path.write_bytes(data)
    return path, done


def _changed(random: Random, data: bytes) -> bytes:
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice(BYTE_MUTATIONS)(random, data) if data else b"\0"
    return data


def _bytes(random: Random, fixture: NeffFixture) -> bytes:
    return _changed(random, fixture.to_bytes())


def _stored(random: Random, fixture: NeffFixture) -> bytes:
    return dataclasses.replace(fixture, payload=_changed(random, fixture.stored())).to_bytes()


def _archive(random: Random, fixture: NeffFixture) -> bytes:
    return dataclasses.replace(fixture, archive=_changed(random, fixture.archive)).to_bytes()


def _tar_header(random: Random, fixture: NeffFixture) -> bytes:
    """Fields of a member's header, with its checksum right: a name, a size, a type, or anything."""
    archive = bytearray(fixture.archive)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = _BLOCK * random.randrange(len(archive) // _BLOCK)
        field = random.choice(("name", "size", "large", "type", "any"))
        if field == "name":
            archive[at : at + 100] = random.choice(ODD_NAMES).encode()[:100].ljust(100, b"\0")
        elif field == "size":
            archive[at + 124 : at + 136] = b"%011o\0" % (random.choice(_ODD_SIZES) % (1 << 33))
        elif field == "large":
            archive[at + 124 : at + 136] = random.choice((b"\x80", b"\xff")) + random.randbytes(11)
        elif field == "type":
            archive[at + 156] = random.choice(_TYPES)
        else:
            archive[at + random.randrange(_BLOCK)] = random.randrange(256)
        archive[at + 148 : at + 156] = b" " * 8
        archive[at + 148 : at + 156] = b"%06o\0 " % sum(archive[at : at + _BLOCK])
    return dataclasses.replace(fixture, archive=bytes(archive)).to_bytes()


def _json(random: Random, fixture: NeffFixture) -> bytes:
    members = sound_members()
    name = random.choice([name for name in members if name.endswith(".json")])
    members[name] = random.choice(_ODD_JSON) if random.random() < 0.3 else _changed(random, members[name])
    return dataclasses.replace(fixture, archive=tar_bytes(members)).to_bytes()


def _header(random: Random, fixture: NeffFixture) -> bytes:
    fields: dict[int, Callable[[], bytes]] = {
        **{at: lambda: random.choice(_ODD_SIZES).to_bytes(8, "little") for at in (0, 8, 16, 24, 32, 544)},
        **{at: lambda: random.randbytes(4) for at in (168, 476, 552)},
        40: lambda: random.choice((b"\xff" * 128, b"x" * 128, random.randbytes(128))),
        220: lambda: random.choice((b"\xff" * 256, b"x" * 256, random.randbytes(256))),
    }
    at = random.choice(list(fields))
    payload = random.choice((None, None, b"", b"\x1f", b"\x1f\x8b", gzip.compress(b"", mtime=0), bytes(1024)))
    return dataclasses.replace(fixture, fields={at: fields[at]()}, payload=payload).to_bytes()
