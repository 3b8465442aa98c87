"""Seeded damage to bytes and to files: what a disk, a network or an attacker makes of something that was whole."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

ByteMutation = Callable[[Random, bytes], bytes]
Item = TypeVar("Item")

ODD_NAMES = (
    "",
    " ",
    "a/b",
    "../../escape",
    "/absolute",
    "..",
    "nul\0byte",
    "line\nbreak",
    "\x1b[31mred",
    "\u202egnirts",
    "e\u0301\U0001f600",
    "x" * 5000,
    "%s{0}$HOME`id`",
    "CON",
    "weights",
)
"""Names that are no file names, no identifiers, no terminal text, or someone else's."""

ODD_SIZES = (-(1 << 63), -1, 0, 1, 3, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1)
"""Sizes, offsets and counts at which arithmetic or memory gives out."""


def flip_bits(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def set_bytes(random: Random, data: bytes) -> bytes:
    at, count = _span(random, data, 8)
    return data[:at] + random.randbytes(count) + data[at + count :]


def truncate(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data))]


def extend(random: Random, data: bytes) -> bytes:
    return data + random.choice((b"\0", random.randbytes(16), data[:64], data))


def cut_out(random: Random, data: bytes) -> bytes:
    at, count = _span(random, data, 64)
    return data[:at] + data[at + count :]


def insert(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.randint(1, 16)) + data[at:]


def duplicate_span(random: Random, data: bytes) -> bytes:
    at, count = _span(random, data, 256)
    return data[: at + count] + data[at:]


def splice(random: Random, data: bytes) -> bytes:
    """One part of the file over another one."""
    (source, count), target = _span(random, data, 256), random.randrange(len(data))
    return data[:target] + data[source : source + count] + data[target + count :]


def zero_run(random: Random, data: bytes) -> bytes:
    at, count = _span(random, data, 512)
    return data[:at] + bytes(count) + data[at + count :]


def lie_in_varint(random: Random, data: bytes) -> bytes:
    """A length, count or number of Protocol Buffers' that is far larger, or never ends."""
    at = random.randrange(len(data))
    number = random.choice((b"\x7f", b"\xff\x7f", b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\xff" * 12))
    return data[:at] + number + data[at + random.choice((1, len(number))) :]


def replace_all(random: Random, data: bytes) -> bytes:
    """Another kind of file altogether."""
    other = (b"", b"\0", b"PK\x03\x04", b"{}", b"<html>404</html>\n", b"version https://git-lfs.github.com/spec/v1\n")
    return random.choice((*other, random.randbytes(len(data))))


BYTE_MUTATIONS: tuple[ByteMutation, ...] = (
    flip_bits,
    set_bytes,
    truncate,
    extend,
    cut_out,
    insert,
    duplicate_span,
    splice,
    zero_run,
    lie_in_varint,
    replace_all,
)


def damage_file(random: Random, path: Path) -> str:
    """Apply one byte mutation to a file in place; its name is returned."""
    data = path.read_bytes()
    mutation = random.choice(BYTE_MUTATIONS) if data else extend
    path.write_bytes(mutation(random, data))
    return mutation.__name__


def replace_by_other_kind(random: Random, path: Path) -> str:
    """Put something that is no regular file at a file's place; what it is is returned."""
    kind = random.choice(("nothing", "folder", "fifo", "socket", "link-to-copy", "link-to-zeros", "link-to-itself"))
    data = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        _bind(path)
    elif kind == "link-to-copy":
        copy = path.with_name(path.name + ".copy")
        copy.write_bytes(data)
        path.symlink_to(copy)
    elif kind == "link-to-zeros":
        path.symlink_to("/dev/zero")
    elif kind == "link-to-itself":
        path.symlink_to(path)
    return kind


def pick(random: Random, items: Sequence[Item]) -> Item | None:
    """One of the items, None if there are none."""
    return random.choice(items) if items else None


def _span(random: Random, data: bytes, longest: int) -> tuple[int, int]:
    at = random.randrange(len(data))
    return at, random.randint(1, min(longest, len(data) - at))


def _bind(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # A socket's address is at most 108 bytes long: reach it by way of the folder.
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
