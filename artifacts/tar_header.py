"""A header of a tar archive, which is 512 bytes: what it says, in words, and how many bytes follow it.

`tarfile` itself follows links, repairs what is broken and reads as much as a header asks for; only its parser of one
block is used here.
"""

from __future__ import annotations

import tarfile

BLOCK = tarfile.BLOCKSIZE


def padding(size: int) -> bytes:
    """What follows the bytes of a member."""
    return bytes(-size % BLOCK)


def parsed(block: bytes) -> tarfile.TarInfo | None:
    """The header in a block, None if there is none."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
    except tarfile.HeaderError:
        return None
    return info if info.size >= 0 else None


def data_bytes(info: tarfile.TarInfo) -> int:
    """How many bytes follow a header, by the rules of tar: links, devices and folders have none."""
    has_data = info.isreg() or info.type in _WITH_DATA or info.type not in tarfile.SUPPORTED_TYPES
    return info.size + len(padding(info.size)) if has_data else 0


def kind_of(info: tarfile.TarInfo) -> str:
    """What a member is: "is a symbolic link"."""
    return "is a regular file" if info.isreg() else _KINDS.get(info.type, f"is of the unknown kind {info.type!r}")


_KINDS = {
    tarfile.SYMTYPE: "is a symbolic link",
    tarfile.LNKTYPE: "is a hard link",
    tarfile.DIRTYPE: "is a folder",
    tarfile.CHRTYPE: "is a device",
    tarfile.BLKTYPE: "is a device",
    tarfile.FIFOTYPE: "is a pipe",
    tarfile.GNUTYPE_SPARSE: "is a sparse file",
    tarfile.GNUTYPE_LONGNAME: "is a long name",
    tarfile.GNUTYPE_LONGLINK: "is a long link",
    tarfile.XHDTYPE: "is an extended header that does not belong",
    tarfile.XGLTYPE: "is an extended header for all that follows",
}

_WITH_DATA = frozenset(
    {
        tarfile.GNUTYPE_SPARSE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    }
)
