from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import BundleError
from compiler.inspect import inspect
from compiler.sections import Section
from tests.support.neff import (
    DEFINITION,
    FILE_NAME,
    TRACED_NAME,
    NeffFixture,
    json_bytes,
    tar_bytes,
    traced_bytes,
)


def inspected(path: Path, data: bytes) -> tuple[dict[str, Any], dict[str, Section]]:
    """The document, and the tables by their titles; every row is as wide as its table."""
    path.write_bytes(data)
    document, sections = inspect(path)
    for section in sections:
        assert all(len(row) == len(section.columns) for row in section.rows)
    json.dumps(document, allow_nan=False)
    return document, {section.title: section for section in sections}


def test_a_neff(tmp_path: Path) -> None:
    fixture = NeffFixture(version=(2, 1), cores=2, requested_cores=3, cores_per_node=(0, 3), feature_bits=17)
    document, sections = inspected(tmp_path / FILE_NAME, fixture.to_bytes())
    assert document["kind"] == "neff"
    (neff,) = document["neffs"]
    assert (neff["member"], neff["offset"], neff["compressed"], neff["digest_matches"]) == (None, 0, True, True)
    assert neff["header"]["name"] == "FIXTURE"
    assert [variable["name"] for variable in neff["variables"]] == list(DEFINITION["var"])
    assert neff["documents"]["info.json"] == {"name": "FIXTURE", "version": "0.5"}
    assert list(sections) == [
        "NEFF fixture.neff",
        "Variables",
        "Members",
        "What its JSON says; --json has all of it",
    ]
    said = {row[0]: row[1] for row in sections["NEFF fixture.neff"].rows}
    assert said == {
        "name": "FIXTURE",
        "NEFF version": "2.1",
        "compiler": "FIXTURE 0.0",
        "uuid": "000102030405060708090a0b0c0d0e0f",
        "cores": "2, 3 requested",
        "cores per node": "0, 3",
        "logical cores": "1",
        "feature bits": "0x11",
        "archive": f"{len(fixture.stored())} bytes, gzip",
        "md5": f"{neff['header']['digest']} is that of the archive",
    }
    assert sections["Variables"].rows == [
        ["sg00", "input0", "input", "128", "", "1x1x1x32", ""],
        ["sg00", "output0", "output", "256", "float32", "2x32", ""],
        ["sg00", "weight", "constant", "12", "", "", "weight.bin"],
        ["", "1 more", "virtual", "", "", "", ""],
        ["", "1 more", "state-buffer", "", "", "", ""],
    ]
    assert ["sg00/pe.bin", "engine", "63"] in sections["Members"].rows


def test_a_digest_that_differs_is_shown(tmp_path: Path) -> None:
    fixture = NeffFixture(package=1, compressed=False, digest=b"0" * 32)
    document, sections = inspected(tmp_path / FILE_NAME, fixture.to_bytes())
    assert document["neffs"][0]["digest_matches"] is False
    rows = sections["NEFF fixture.neff"].rows
    assert ["sha256", f"{'30' * 32} DIFFERS from that of the archive"] in rows
    assert ["archive", f"{len(fixture.archive)} bytes, not compressed"] in rows


def test_a_traced_model(tmp_path: Path) -> None:
    first, second = NeffFixture(), NeffFixture(name="FIXTURE 2")
    document, sections = inspected(tmp_path / TRACED_NAME, traced_bytes(first.to_bytes(), second.to_bytes()))
    assert document["kind"] == "neff"
    assert [neff["header"]["name"] for neff in document["neffs"]] == ["FIXTURE", "FIXTURE 2"]
    assert [neff["member"] for neff in document["neffs"]] == ["fixture/data.pkl"] * 2
    assert f"NEFF in fixture.pt: fixture/data.pkl, byte {document['neffs'][1]['offset']}" in sections


def test_json_is_shown_in_a_line(tmp_path: Path) -> None:
    members = {
        "info.json": json_bytes([1, "x" * 500]),
        "metrics.json": b"[" * 70_000,
        "neff.json": json_bytes({"a": {}}),
    }
    document, sections = inspected(tmp_path / FILE_NAME, NeffFixture(archive=tar_bytes(members)).to_bytes())
    rows = {row[0]: row[1] for row in sections["What its JSON says; --json has all of it"].rows}
    assert rows["info.json"].startswith("[1, 'xxx")
    assert len(rows["info.json"]) == 203
    assert rows["neff.json"] == "a=..."
    assert rows["metrics.json"] == "too large to be read here"
    assert document["neffs"][0]["unread"] == ("metrics.json",)


def test_much_is_counted_and_not_shown(tmp_path: Path) -> None:
    definition = {"var": {f"input{number}": {"type": "input"} for number in range(150)}}
    members = {"sg00/def.json": json_bytes(definition), **{f"sg00/{number}.bin": b"" for number in range(149)}}
    document, sections = inspected(tmp_path / FILE_NAME, NeffFixture(archive=tar_bytes(members)).to_bytes())
    for title, of in (("Variables", "variables"), ("Members", "members")):
        assert len(document["neffs"][0][of]) == 150
        assert len(sections[title].rows) == 101
        assert sections[title].rows[-1][0] == "and 50 more"


def test_a_neff_with_next_to_nothing(tmp_path: Path) -> None:
    _, sections = inspected(tmp_path / FILE_NAME, NeffFixture(archive=bytes(1024)).to_bytes())
    assert list(sections) == ["NEFF fixture.neff", "Members"]


def test_files_that_are_none(tmp_path: Path) -> None:
    for name in (FILE_NAME, TRACED_NAME):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(BundleError, match=name) as caught:
            inspect(tmp_path / name)
        assert [problem.stage for problem in caught.value.problems] == ["neff"]
