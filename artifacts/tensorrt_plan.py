"""The header of a TensorRT-RTX plan: what made it, and on which GPUs it can load. TensorRT-RTX is not needed for that.

The layout is not documented. It was found by building networks of one operator (a Relu of 4 elements, a Sigmoid of
5000) for each compute capability alone and for several together, and comparing the bytes, in versions 1.4.0.76,
1.6.1.120 and 1.7.1.116. In all three, little-endian:

    bytes 0-7     "vtrt" and four zeros. The runtime (`get_engine_validity`) calls a header malformed if one of the
                  first four differs, and looks at no other byte before it asks for the GPU
    bytes 8-15    2 in every build: taken for the number of the layout
    bytes 16-23   the bytes of the whole plan; other networks and other sets of capabilities change it as they change
                  the plan's length
    bytes 24-27   the version: 1, 7, 1, 116 in plans of 1.7.1.116
    bytes 28-31   "vtrt" again
    bytes 32-35   a bit for each compute capability that was asked for, in whatever order: 1 is 7.5, 2 is 8.0, 4 is
                  8.6, 8 is 8.9, 16 is 12.0 and 32 is 12.1, which 1.4.0.76 does not have

Bytes 36-63 end the header, whose size of 64 is the runtime's own `engine_header_size`. They are not read: zeros in
1.7.1.116, but earlier versions have a number there.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from artifacts.errors import BundleError

KIND = "tensorrt-rtx"
"""The kind of the engines that have such a plan."""

HEADER_BYTES = 64

CAPABILITY_BITS: Mapping[str, int] = MappingProxyType(
    {"sm75": 1 << 0, "sm80": 1 << 1, "sm86": 1 << 2, "sm89": 1 << 3, "sm120": 1 << 4, "sm121": 1 << 5}
)
"""The compute capabilities that TensorRT-RTX 1.7 builds for, ascending, and the bit of each in a header."""

_STAGE = "plan"
_LAYOUT = 2
_MAJOR = 1
_FIELDS = struct.Struct("<8sQQ4B4sI")


def number_of(capability: str) -> str:
    """A compute capability as NVIDIA writes it: sm89 is 8.9, sm120 is 12.0."""
    digits = capability.removeprefix("sm")
    return f"{digits[:-1]}.{digits[-1]}"


@dataclass(frozen=True)
class PlanHeader:
    """What a plan says of itself: TensorRT-RTX's version, the GPUs that it can load on, ascending, and its bytes."""

    version: tuple[int, ...]
    capabilities: tuple[str, ...]
    bytes: int

    @property
    def version_text(self) -> str:
        """The version as its package writes it: 1.7.1.116."""
        return ".".join(map(str, self.version))


def read_plan(path: Path, subject: str) -> PlanHeader:
    """The header of a plan in a file, of which no more is read.

    Raises BundleError as `read_header` does, and if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return read_header(file.read(HEADER_BYTES), subject, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise BundleError.of(_STAGE, subject, f"cannot be read: {error.strerror}") from error


def read_header(data: bytes, subject: str, size: int | None = None) -> PlanHeader:
    """The header of a plan of `size` bytes that begins with `data`; without a size `data` is all of it.

    Raises BundleError about `subject` if it is no plan, not as long as it says, of a layout that is not known here, or
    for compute capabilities that are not.
    """
    size = len(data) if size is None else size
    if min(size, len(data)) < HEADER_BYTES:
        message = f"is no TensorRT-RTX plan: it has {min(size, len(data))} bytes, a header alone has {HEADER_BYTES}"
        raise BundleError.of(_STAGE, subject, message)
    magic, layout, declared, *version, again, mask = _FIELDS.unpack_from(data)
    if magic != b"vtrt\0\0\0\0":
        raise BundleError.of(_STAGE, subject, "is no TensorRT-RTX plan: it does not begin as one")
    if layout != _LAYOUT or version[0] != _MAJOR or again != b"vtrt":
        known = f"layout {_LAYOUT} of TensorRT-RTX {_MAJOR}"
        message = f"has a header of layout {layout} by version {'.'.join(map(str, version))}, known is {known}"
        raise BundleError.of(_STAGE, subject, message, "use a version of Unspool that knows it, or compile it again")
    if declared != size:
        raise BundleError.of(_STAGE, subject, f"has {size} bytes, its header says {declared}: it was cut or changed")
    unknown = mask & ~sum(CAPABILITY_BITS.values())
    if unknown or not mask:
        which = f"unknown compute capabilities (bits {unknown:#x})" if unknown else "no compute capability"
        hint = "use a version of Unspool that knows them" if unknown else ""
        raise BundleError.of(_STAGE, subject, f"is for {which}, its header says", hint)
    capabilities = tuple(name for name, bit in CAPABILITY_BITS.items() if mask & bit)
    return PlanHeader(tuple(version), capabilities, declared)
