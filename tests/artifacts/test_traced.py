"""NEFFs inside traced models, which are zip archives: found by what they begin with, without torch."""

from __future__ import annotations

import dataclasses
import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from artifacts.errors import BundleError
from artifacts.neff import read_neff
from artifacts.neff_stream import LIMITS, Limits
from artifacts.traced import read_traced
from tests.fuzz.trial import listing
from tests.support.neff import FILE_NAME, TRACED_NAME, NeffFixture, traced_bytes


def written(folder: Path, data: bytes) -> Path:
    path = folder / TRACED_NAME
    path.write_bytes(data)
    return path


def refused(folder: Path, data: bytes, limits: Limits = LIMITS) -> str:
    path = written(folder, data)
    before = listing(folder)
    with pytest.raises(BundleError) as caught:
        read_traced(path, limits)
    assert listing(folder) == before
    (problem,) = caught.value.problems
    assert problem.stage == "neff"
    assert problem.subject.startswith(str(path))
    assert problem.hint
    return f"{problem.subject.removeprefix(str(path))}: {problem.message}"


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_every_neff_is_found_and_read(tmp_path: Path) -> None:
    fixtures = [NeffFixture(), NeffFixture(compressed=False, package=1), NeffFixture(name="FIXTURE 3")]
    found = read_traced(written(tmp_path, traced_bytes(*(fixture.to_bytes() for fixture in fixtures))))
    assert {embedded.member for embedded in found} == {"fixture/data.pkl"}
    at = 0
    for fixture, embedded in zip(fixtures, found, strict=True):
        alone = tmp_path / FILE_NAME
        alone.write_bytes(fixture.to_bytes())
        assert embedded.neff == read_neff(alone)
        assert embedded.offset == at + 2 + 5
        at += 2 + 5 + len(fixture.to_bytes())


@pytest.mark.parametrize("before", [0, 1, 31, 255, 256 * 1024 - 1500, 256 * 1024 - 20, 256 * 1024, 600_000])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_wherever_it_begins(tmp_path: Path, before: int, method: int) -> None:
    neff = NeffFixture(package=1).to_bytes()
    (found,) = read_traced(written(tmp_path, zipped({"data/0": b"\1" * before + neff + bytes(99)}, method)))
    assert (found.member, found.offset, found.neff.digest_matches) == ("data/0", before, True)


def test_what_begins_like_one_and_is_none_is_passed_over(tmp_path: Path) -> None:
    start = struct.pack("<5Q", 2, 1024, 100, 1, 0)
    neff = NeffFixture().to_bytes()
    for junk in (start, start * 700, bytes(5000), struct.pack("<Q", 1024) * 5000, neff[:1024]):
        (found,) = read_traced(written(tmp_path, zipped({"a": junk + neff})))
        assert found.offset == len(junk)
        assert "holds no NEFF" in refused(tmp_path, zipped({"a": junk}))


def test_too_many_beginnings(tmp_path: Path) -> None:
    start = struct.pack("<4Q", 1, 1024, 100, 1)
    assert "too much in it looks like the beginning" in refused(tmp_path, zipped({"a": start * 110_000}))


def test_one_that_is_damaged(tmp_path: Path) -> None:
    neff = NeffFixture().to_bytes()
    message = refused(tmp_path, traced_bytes(neff[:1100] + b"\0" + neff[1101:]))
    assert message.startswith(": fixture/data.pkl, byte 7: has a damaged gzip stream")
    assert "is cut off" in refused(tmp_path, zipped({"a": neff[:-1]}))


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"\x80\x02}q\x00.", bytes(1000)])
def test_files_that_hold_none(tmp_path: Path, data: bytes) -> None:
    assert refused(tmp_path, data).startswith((": is no zip archive", ": holds no NEFF"))


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        read_traced(tmp_path / "nothing.pt")


def test_a_neff_is_no_traced_model(tmp_path: Path) -> None:
    assert "is no zip archive" in refused(tmp_path, NeffFixture().to_bytes())


def test_members_that_expand_without_end(tmp_path: Path) -> None:
    limits = dataclasses.replace(LIMITS, expanded=1 << 20)
    data = zipped({"a": bytes(64 << 20)}, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        assert "its members have more than" in refused(tmp_path, data, limits)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_compressed_as_in_no_torchscript(tmp_path: Path, method: int) -> None:
    assert refused(tmp_path, zipped({"a": bytes(100)}, method)).startswith(": a: is compressed or locked")


def test_a_member_that_is_locked(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": bytes(100)}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert refused(tmp_path, bytes(data)).startswith(": a: is compressed or locked")


@pytest.mark.parametrize("at", [20, 24, 42], ids=["compressed", "size", "offset"])
@pytest.mark.parametrize("value", [1, 5000, 0xFFFFFFFE, 0xFFFFFFFF])
def test_a_list_of_members_that_lies(tmp_path: Path, at: int, value: int) -> None:
    data = bytearray(zipped({"a": NeffFixture().to_bytes()}))
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + at, value)
    expected = (": is no zip archive", ": a: says of itself")
    assert refused(tmp_path, bytes(data)).startswith(expected)


def test_a_list_of_members_that_is_enormous(tmp_path: Path) -> None:
    data = zipped({f"{number:0100}": b"" for number in range(1000)})
    limits = dataclasses.replace(LIMITS, directory=50_000)
    assert "its list of members has more than 50000 bytes" in refused(tmp_path, data, limits)


def test_neffs_without_end(tmp_path: Path) -> None:
    neff = NeffFixture().to_bytes()
    limits = dataclasses.replace(LIMITS, embedded=3)
    assert len(read_traced(written(tmp_path, traced_bytes(*[neff] * 3)), limits)) == 3
    assert "holds more than 3 NEFFs" in refused(tmp_path, traced_bytes(*[neff] * 4), limits)
