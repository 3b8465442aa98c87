"""The header of a NEFF, the file that a Neuron compiler makes: 1024 bytes, little-endian, before a tar archive.

The fields are those of AWS's documentation ("Work with NEFF files"). There is no magic number: what tells a NEFF from
other bytes is the kind of the digest, the header's own size, and the number of bytes that follow.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal, NoReturn

from artifacts.errors import BundleError

STAGE = "neff"
HEADER_BYTES = 1024
HINT = "compile the model again, or copy the file again from where it is whole"

_FIELDS = struct.Struct("<5Q128sI32s16s256sI64sQI468s")
_DIGESTS: dict[int, tuple[Literal["sha256", "md5"], int]] = {1: ("sha256", 32), 2: ("md5", 16)}
"""By the version of the package: the kind of the digest and its bytes, which are the first of the field."""


@dataclass(frozen=True)
class NeffHeader:
    """What a NEFF says of itself before its archive. `data_bytes` is the size of the archive as it is stored.

    `cores` is the field `num_tpb`, of which newer compilers seem to make other use; `requested_cores` is
    `requested_tpb_count`. `cores_per_node` ends with the last node that has any.
    """

    version: tuple[int, int]
    build: str
    name: str
    uuid: str
    cores: int
    requested_cores: int
    cores_per_node: tuple[int, ...]
    feature_bits: int
    logical_cores: int
    digest_kind: Literal["sha256", "md5"]
    digest: str
    data_bytes: int


def fault(subject: str, message: str, hint: str = HINT) -> BundleError:
    """An error about a NEFF, or about a member of one."""
    return BundleError.of(STAGE, subject, message, hint)


def read_header(data: bytes, subject: str, rest: int, *, exact: bool = True) -> NeffHeader:
    """The header that `data` begins with, which `rest` bytes follow.

    The archive has to be exactly those bytes; with `exact` false it may be shorter. Raises BundleError about `subject`.
    """
    if len(data) < HEADER_BYTES:
        raise fault(subject, f"is no NEFF: it has {len(data)} bytes, a header alone has {HEADER_BYTES}")
    package, size, data_size, major, minor, build, cores, digest, uuid, name, requested, nodes, features, logical, _ = (
        _FIELDS.unpack_from(data)
    )
    if package not in _DIGESTS:
        raise fault(subject, f"is no NEFF that is known here: it is of package version {package}, known are 1 and 2")
    if size != HEADER_BYTES:
        raise fault(subject, f"is no NEFF: it says that its header has {size} bytes, and not {HEADER_BYTES}")
    if data_size > rest:
        raise fault(subject, f"is cut off: its header says that {data_size} bytes follow, there are {rest}")
    if exact and data_size < rest:
        raise fault(subject, f"is longer than it says: {data_size} bytes should follow its header, there are {rest}")
    kind, digest_bytes = _DIGESTS[package]
    return NeffHeader(
        version=(major, minor),
        build=_text(build, subject, "the compiler's version"),
        name=_text(name, subject, "the model's name"),
        uuid=uuid.hex(),
        cores=cores,
        requested_cores=requested,
        cores_per_node=tuple(nodes.rstrip(b"\0")),
        feature_bits=features,
        logical_cores=logical,
        digest_kind=kind,
        digest=digest[:digest_bytes].hex(),
        data_bytes=data_size,
    )


def _text(field: bytes, subject: str, what: str) -> str:
    text, end, _ = field.partition(b"\0")
    if not end:
        _refuse(subject, what, f"does not end within its {len(field)} bytes")
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        _refuse(subject, what, "is not UTF-8")


def _refuse(subject: str, what: str, why: str) -> NoReturn:
    raise fault(subject, f"{what} in its header {why}")
