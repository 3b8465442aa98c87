"""Files that look like NEFFs and hold no model, to try the reader on. They say FIXTURE, and nothing else may be made.

The header is put together field by field, at the offsets that AWS's documentation gives, not by the reader's struct.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

FIXTURE = "FIXTURE"
FILE_NAME = "fixture.neff"
TRACED_NAME = "fixture.pt"

DEFINITION: Mapping[str, Any] = {
    "name": "definition",
    "version": "0.6",
    "var": {
        "input0": {"type": "input", "var_id": 0, "size": 128, "internal_shape": [1, 1, 1, 32], "element_size": 4},
        "output0": {"type": "output", "var_id": 1, "size": 256, "shape": [2, 32], "dtype": "float32"},
        "weight": {"type": "file", "var_id": 2, "size": 12, "file_name": "weight.bin"},
        "scratch": {"type": "virtual", "var_id": 3, "size": 131072, "backing_variable_off": 0},
        "SB": {"type": "state-buffer", "var_id": 4},
    },
}


def json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def sound_members() -> dict[str, bytes]:
    """One of each kind of member that is documented."""
    return {
        "info.json": json_bytes({"name": FIXTURE, "version": "0.5"}),
        "neff.json": json_bytes({"nodes": [{"op": "null", "name": "input0"}], "arg_nodes": [0]}),
        "metrics.json": json_bytes({"estimated": 1.5}),
        "kelf-0.json": json_bytes({"graphs": [{"definition": "sg00/def.json", "name": "sg00"}], "target": "*"}),
        "sg00/def.json": json_bytes(DEFINITION),
        "sg00/pe.bin": b"FIXTURE" * 9,
        "sg00/weight.bin": b"FIXTUREFIXTU",
        "debug_info/a.dbg": b"",
    }


def tar_bytes(members: Mapping[str, bytes], dialect: Literal[1, 2] = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=dialect) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass(frozen=True)
class NeffFixture:
    """A file to be: every field of the header as it is to be written, and the archive before it is compressed.

    `fields` replaces bytes at offsets of the finished header.
    """

    archive: bytes = field(default_factory=lambda: tar_bytes(sound_members()))
    package: int = 2
    compressed: bool = True
    version: tuple[int, int] = (2, 0)
    build: str = "FIXTURE 0.0"
    name: str = FIXTURE
    uuid: bytes = bytes(range(16))
    cores: int = 1
    requested_cores: int = 1
    cores_per_node: Sequence[int] = (1,)
    feature_bits: int = 0
    logical_cores: int = 1
    payload: bytes | None = None
    digest: bytes | None = None
    fields: Mapping[int, bytes] = field(default_factory=dict)

    def stored(self) -> bytes:
        """The archive as it is stored."""
        if self.payload is not None:
            return self.payload
        return gzip.compress(self.archive, mtime=0) if self.compressed else self.archive

    def header(self) -> bytes:
        assert FIXTURE in self.name
        assert FIXTURE in self.build
        stored = self.stored()
        digest = self.digest
        if digest is None:
            # What follows an MD5 is filled with the character 0 in a real one, others say.
            digest = hashlib.sha256(stored).digest() if self.package == 1 else hashlib.md5(stored).digest() + b"0" * 16
        header = bytearray(1024)
        pieces = {
            0x000: self.package.to_bytes(8, "little"),
            0x008: (1024).to_bytes(8, "little"),
            0x010: len(stored).to_bytes(8, "little"),
            0x018: self.version[0].to_bytes(8, "little"),
            0x020: self.version[1].to_bytes(8, "little"),
            0x028: self.build.encode(),
            0x0A8: self.cores.to_bytes(4, "little"),
            0x0AC: digest,
            0x0CC: self.uuid,
            0x0DC: self.name.encode(),
            0x1DC: self.requested_cores.to_bytes(4, "little"),
            0x1E0: bytes(self.cores_per_node),
            0x220: self.feature_bits.to_bytes(8, "little"),
            0x228: self.logical_cores.to_bytes(4, "little"),
            **self.fields,
        }
        for offset, piece in pieces.items():
            header[offset : offset + len(piece)] = piece
        assert len(header) == 1024
        return bytes(header)

    def to_bytes(self) -> bytes:
        return self.header() + self.stored()


def traced_bytes(*neffs: bytes) -> bytes:
    """A TorchScript file as a traced model's is: members as they are, code compressed, each NEFF within a string."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("fixture/version", "3\n")
        code = "class FIXTURE(Module):\n  pass\n" * 40
        archive.writestr("fixture/code/__torch__/fixture.py", code, zipfile.ZIP_DEFLATED)
        strings = (b"X" + len(neff).to_bytes(4, "little") + neff for neff in neffs)
        archive.writestr("fixture/data.pkl", b"\x80\x02" + b"q\x01".join(strings) + b".")
        archive.writestr("fixture/data/0", bytes(2000))
    return out.getvalue()
