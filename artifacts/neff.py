"""A NEFF, the file that a Neuron compiler makes: what it says of itself and what is in it. No Neuron SDK is needed.

What is read is documented by AWS ("Work with NEFF files"), but for the digest, which others found to be that of the
archive as it is stored, and for the fields of a variable beyond its type and size. No real NEFF was to be had: the
reader was tried on files made for its tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue
from pydantic_core import from_json

from artifacts.neff_archive import Found, Walk
from artifacts.neff_header import HEADER_BYTES, NeffHeader, fault, read_header
from artifacts.neff_stream import GZIP, LIMITS, Inflated, Limits, Read, Stored, opened
from artifacts.neff_variables import Variable, variables_of

DOCUMENTS = ("neff.json", "info.json", "metrics.json", "hlo_stats.json")
"""Members that say something about the whole, and are kept as JSON."""

_DEFINITION = re.compile(r"(?:[^/]+/)*(sg[0-9]+)/def\.json")
_KINDS = {
    "definition": _DEFINITION,
    "kelf": re.compile(r"(?:[^/]+/)*kelf-[^/]+\.json"),
    "debug": re.compile(r"debug_info/.*", re.DOTALL),
    "engine": re.compile(r"(?:[^/]+/)*sg[0-9]+/[^/]+\.(?:bin|asm|json)"),
}
"""What members are, by their names; the first that fits."""


@dataclass(frozen=True)
class NeffMember:
    """A member of the archive, with its size in bytes. `kind` is guessed from its name."""

    name: str
    size: int
    kind: str


@dataclass(frozen=True)
class Neff:
    """What a NEFF says. `digest_matches`: the header's digest is that of the archive as it is stored.

    `documents` holds the JSON of DOCUMENTS, `unread` the names of JSON members that are too large to be looked into.
    """

    header: NeffHeader
    compressed: bool
    digest_matches: bool
    members: tuple[NeffMember, ...]
    variables: tuple[Variable, ...]
    documents: Mapping[str, JsonValue]
    unread: tuple[str, ...]


def read_neff(path: Path, limits: Limits = LIMITS) -> Neff:
    """What a NEFF in a file says. Nothing is written.

    Raises BundleError, of the stage "neff", about `path` if it is no NEFF, is not whole or contradicts itself, or is
    larger inside than `limits` allow.
    """
    subject = str(path)
    with opened(path) as (file, size):
        header = read_header(file.read(HEADER_BYTES), subject, size - HEADER_BYTES)
        return read_archive(file.read, header, subject, limits)


def read_archive(read: Read, header: NeffHeader, subject: str, limits: Limits) -> Neff:
    """What a NEFF says whose header was read, and whose archive `read` gives. Raises BundleError about `subject`."""
    stored = Stored(read, header, subject)
    compressed = stored.begins_with(GZIP)
    wanted = _Wanted(limits)
    payload = Inflated(stored, limits.of_expanded(header.data_bytes), subject) if compressed else stored
    found = Walk(payload, subject, limits, wanted).members()
    read_members = {member.name: member.data for member in found if member.data is not None}
    variables: list[Variable] = []
    documents: dict[str, JsonValue] = {}
    for name, data in read_members.items():
        where = f"{subject}: {name}"
        if match := _DEFINITION.fullmatch(name):
            # Without a name for the JSON, which takes 25 times its bytes: it is gone before the next is parsed.
            variables += variables_of(_json(data, where), match[1], where)
            if len(variables) > limits.variables:
                raise fault(subject, f"is refused: it has more than {limits.variables} variables")
        else:
            documents[name] = _json(data, where)
    files = {variable.file for variable in variables if variable.file is not None}
    members = tuple(NeffMember(member.name, member.size, _kind(member, files)) for member in found)
    matches = stored.digest == header.digest
    return Neff(header, compressed, matches, members, tuple(variables), documents, tuple(wanted.left_out))


@dataclass
class _Wanted:
    """Which members are kept: JSON that says something, up to a size."""

    limits: Limits
    definitions: int = 0
    left_out: list[str] = field(default_factory=list)

    def __call__(self, name: str, size: int) -> bool:
        if _DEFINITION.fullmatch(name):
            fits = size <= min(self.limits.definition, self.limits.definitions - self.definitions)
            self.definitions += size if fits else 0
        elif name in DOCUMENTS:
            fits = size <= self.limits.document
        else:
            return False
        if not fits:
            self.left_out.append(name)
        return fits


def _json(data: bytes, subject: str) -> JsonValue:
    try:
        value: JsonValue = from_json(data)
    except ValueError as error:
        raise fault(subject, f"is not JSON: {error}") from error
    return value


def _kind(member: Found, files: set[str]) -> str:
    name = member.name
    if member.folder:
        return "folder"
    if name in DOCUMENTS:
        return "metadata"
    if name in files or name.rpartition("/")[2] in files:
        return "constant"
    return next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(name)), "other")
