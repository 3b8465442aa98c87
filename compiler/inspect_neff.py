"""What a NEFF says, alone in a file or within a traced model. Neither torch nor a Neuron SDK is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from artifacts.neff import Neff, NeffMember, read_neff
from artifacts.neff_header import NeffHeader
from artifacts.neff_variables import Variable
from artifacts.traced import read_traced
from compiler.sections import Inspection, Section

_MOST_ROWS = 100
_PORTS = ("input", "output", "constant")


def inspect_neff(path: Path) -> Inspection:
    """A file that a Neuron compiler wrote. Raises BundleError."""
    neff = read_neff(path)
    return {"kind": "neff", "neffs": [_document(neff, None, 0)]}, _sections(neff, f"NEFF {path.name}")


def inspect_traced(path: Path) -> Inspection:
    """The NEFFs within a file that torch.jit.save wrote of a traced model. Raises BundleError."""
    documents, sections = [], []
    for found in read_traced(path):
        documents.append(_document(found.neff, found.member, found.offset))
        title = f"NEFF in {path.name}: {found.member}, byte {found.offset}"
        sections += _sections(found.neff, title)
    return {"kind": "neff", "neffs": documents}, sections


def _document(neff: Neff, member: str | None, offset: int) -> dict[str, Any]:
    """All that was read; `member` and `offset` say where in a traced model it lies."""
    return {"member": member, "offset": offset, **asdict(neff)}


def _sections(neff: Neff, title: str) -> list[Section]:
    sections = [Section(title, ["", ""], _header_rows(neff.header, neff))]
    if neff.variables:
        sections.append(_variables(neff.variables))
    sections.append(_members(neff.members))
    if neff.documents or neff.unread:
        rows = [[name, _said(value)] for name, value in neff.documents.items()]
        rows += [[name, "too large to be read here"] for name in neff.unread]
        sections.append(Section("What its JSON says; --json has all of it", ["member", ""], rows))
    return sections


def _header_rows(header: NeffHeader, neff: Neff) -> list[list[str]]:
    agrees = "is that of the archive" if neff.digest_matches else "DIFFERS from that of the archive"
    return [
        ["name", header.name],
        ["NEFF version", ".".join(map(str, header.version))],
        ["compiler", header.build],
        ["uuid", header.uuid],
        ["cores", f"{header.cores}, {header.requested_cores} requested"],
        ["cores per node", ", ".join(map(str, header.cores_per_node)) or "none said"],
        ["logical cores", str(header.logical_cores)],
        ["feature bits", f"{header.feature_bits:#x}"],
        ["archive", f"{header.data_bytes} bytes, {'gzip' if neff.compressed else 'not compressed'}"],
        [header.digest_kind, f"{header.digest} {agrees}"],
    ]


def _variables(variables: Sequence[Variable]) -> Section:
    """What goes in, what comes out and the constants first; of the rest how many of each kind there are."""
    shown = [v for kind in _PORTS for v in variables if v.kind == kind]
    rows = [
        [
            v.graph,
            v.name,
            v.kind,
            "" if v.bytes is None else str(v.bytes),
            v.dtype or "",
            "" if v.shape is None else "x".join(map(str, v.shape)),
            v.file or "",
        ]
        for v in shown[:_MOST_ROWS]
    ]
    rows += [_more(len(shown), 7)] if len(shown) > _MOST_ROWS else []
    others = Counter(v.kind for v in variables if v.kind not in _PORTS)
    rows += [["", f"{count} more", kind, "", "", "", ""] for kind, count in others.most_common(_MOST_ROWS)]
    return Section("Variables", ["graph", "variable", "kind", "bytes", "dtype", "shape", "member"], rows)


def _members(members: Sequence[NeffMember]) -> Section:
    rows = [[member.name, member.kind, str(member.size)] for member in members[:_MOST_ROWS]]
    rows += [_more(len(members), 3)] if len(members) > _MOST_ROWS else []
    return Section("Members", ["member", "kind", "bytes"], rows)


def _more(count: int, width: int) -> list[str]:
    return [f"and {count - _MOST_ROWS} more", *[""] * (width - 1)]


def _said(value: object) -> str:
    """A JSON value in a line: what is short of it, or its keys."""
    if isinstance(value, dict):
        small = {key: item for key, item in value.items() if isinstance(item, str | int | float) or item is None}
        pairs = [f"{key}={item}" for key, item in small.items()]
        pairs += [f"{key}=..." for key in value if key not in small]
        return _clipped(", ".join(pairs))
    return _clipped(str(value))


def _clipped(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."
