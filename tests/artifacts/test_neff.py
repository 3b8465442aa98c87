"""The reader of NEFFs, on files that were made for it: whole ones, and those that lie."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import struct
import tarfile
import time
import tracemalloc
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import BundleError
from artifacts.neff import Neff, NeffMember, read_neff
from artifacts.neff_stream import LIMITS, Limits
from artifacts.neff_variables import Variable
from tests.fuzz.trial import listing
from tests.support.neff import (
    DEFINITION,
    FILE_NAME,
    FIXTURE,
    NeffFixture,
    json_bytes,
    sound_members,
    tar_bytes,
)

SMALL = Limits(expanded=1 << 20, ratio=4, headers=50, names=10_000, document=200, definition=2000, variables=20)


def read(folder: Path, fixture: NeffFixture | bytes, limits: Limits = LIMITS) -> Neff:
    path = folder / FILE_NAME
    path.write_bytes(fixture if isinstance(fixture, bytes) else fixture.to_bytes())
    before = listing(folder)
    try:
        return read_neff(path, limits)
    finally:
        assert listing(folder) == before


def refused(folder: Path, fixture: NeffFixture | bytes, limits: Limits = LIMITS) -> list[str]:
    """The messages of the error, each with its place in the file before it; its stage and hints are right."""
    with pytest.raises(BundleError) as caught:
        read(folder, fixture, limits)
    path = str(folder / FILE_NAME)
    for problem in caught.value.problems:
        assert problem.stage == "neff"
        assert problem.subject.startswith(path)
        assert problem.hint
    return [f"{problem.subject.removeprefix(path)}: {problem.message}" for problem in caught.value.problems]


def member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """An archive of headers as they are, which need not be true."""
    pieces: list[bytes] = []
    for info, data in members:
        pieces += (info.tobuf(tarfile.GNU_FORMAT), data, bytes(-len(data) % 512))
    return b"".join(pieces) + bytes(1024)


def plain(data: bytes) -> NeffFixture:
    return NeffFixture(archive=data, compressed=False)


def test_what_a_neff_says(tmp_path: Path) -> None:
    fixture = NeffFixture(version=(2, 7), cores=3, requested_cores=4, cores_per_node=(1, 0, 2), feature_bits=5)
    neff = read(tmp_path, fixture)
    header = neff.header
    assert (header.version, header.build, header.name) == ((2, 7), "FIXTURE 0.0", FIXTURE)
    assert header.uuid == "000102030405060708090a0b0c0d0e0f"
    assert (header.cores, header.requested_cores, header.cores_per_node) == (3, 4, (1, 0, 2))
    assert (header.feature_bits, header.logical_cores) == (5, 1)
    assert (header.digest_kind, header.digest) == ("md5", hashlib.md5(fixture.stored()).hexdigest())
    assert (neff.digest_matches, neff.compressed, neff.unread) == (True, True, ())
    assert header.data_bytes == len(fixture.stored())


def test_members_variables_and_documents(tmp_path: Path) -> None:
    neff = read(tmp_path, NeffFixture())
    assert neff.members == (
        NeffMember("info.json", 37, "metadata"),
        NeffMember("neff.json", 63, "metadata"),
        NeffMember("metrics.json", 18, "metadata"),
        NeffMember("kelf-0.json", 76, "kelf"),
        NeffMember("sg00/def.json", len(json_bytes(DEFINITION)), "definition"),
        NeffMember("sg00/pe.bin", 63, "engine"),
        NeffMember("sg00/weight.bin", 12, "constant"),
        NeffMember("debug_info/a.dbg", 0, "debug"),
    )
    assert neff.variables == (
        Variable("sg00", "input0", "input", 128, None, (1, 1, 1, 32), None),
        Variable("sg00", "output0", "output", 256, "float32", (2, 32), None),
        Variable("sg00", "weight", "constant", 12, None, None, "weight.bin"),
        Variable("sg00", "scratch", "virtual", 131072, None, None, None),
        Variable("sg00", "SB", "state-buffer", None, None, None, None),
    )
    assert neff.documents == {
        "info.json": {"name": FIXTURE, "version": "0.5"},
        "neff.json": {"nodes": [{"op": "null", "name": "input0"}], "arg_nodes": [0]},
        "metrics.json": {"estimated": 1.5},
    }


def test_what_was_read_cannot_be_changed(tmp_path: Path) -> None:
    neff = read(tmp_path, NeffFixture())
    with pytest.raises(dataclasses.FrozenInstanceError):
        neff.compressed = False  # type: ignore[misc]


UNSIGNED = {bits: st.integers(0, (1 << bits) - 1) for bits in (8, 32, 64)}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).map(FIXTURE.__add__)
SEGMENTS = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=60).filter(
    lambda text: text not in {".", ".."}
)
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)
CONTENTS = st.dictionaries(NAMES, st.binary(max_size=1500), max_size=6)

FORMATS: st.SearchStrategy[Literal[1, 2]] = st.sampled_from((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))


@st.composite
def fixtures(draw: st.DrawFn) -> tuple[NeffFixture, dict[str, bytes]]:
    members = draw(CONTENTS)
    fixture = NeffFixture(
        archive=tar_bytes(members, draw(FORMATS)),
        package=draw(st.sampled_from([1, 2])),
        compressed=draw(st.booleans()),
        version=(draw(UNSIGNED[64]), draw(UNSIGNED[64])),
        build=draw(TEXTS),
        name=draw(TEXTS),
        uuid=draw(st.binary(min_size=16, max_size=16)),
        cores=draw(UNSIGNED[32]),
        requested_cores=draw(UNSIGNED[32]),
        cores_per_node=draw(st.lists(UNSIGNED[8], max_size=63).map(lambda nodes: [*nodes, 1])),
        feature_bits=draw(UNSIGNED[64]),
        logical_cores=draw(UNSIGNED[32]),
    )
    return fixture, members


@given(fixtures())
def test_a_header_and_its_members_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[NeffFixture, dict[str, bytes]]
) -> None:
    fixture, members = drawn
    neff = read(tmp_path_factory.mktemp("neff"), fixture)
    header = neff.header
    for name in ("version", "build", "name", "cores", "requested_cores", "feature_bits", "logical_cores"):
        assert getattr(header, name) == getattr(fixture, name)
    assert header.uuid == fixture.uuid.hex()
    assert header.cores_per_node == tuple(fixture.cores_per_node)
    assert header.digest_kind == {1: "sha256", 2: "md5"}[fixture.package]
    assert neff.digest_matches
    assert neff.compressed is fixture.compressed
    assert [(found.name, found.size) for found in neff.members] == [(name, len(data)) for name, data in members.items()]


@pytest.mark.parametrize("package", [1, 2])
@pytest.mark.parametrize("compressed", [True, False])
def test_another_digest_is_told(tmp_path: Path, package: int, compressed: bool) -> None:
    sound = NeffFixture(package=package, compressed=compressed)
    assert read(tmp_path, sound).digest_matches
    assert not read(tmp_path, dataclasses.replace(sound, digest=b"0" * 32)).digest_matches


def test_only_the_first_half_of_the_field_is_an_md5(tmp_path: Path) -> None:
    fixture = NeffFixture()
    digest = hashlib.md5(fixture.stored()).digest()
    assert read(tmp_path, dataclasses.replace(fixture, digest=digest + bytes(range(16)))).digest_matches


def test_folders_and_names_that_begin_with_a_dot(tmp_path: Path) -> None:
    definition = json_bytes(DEFINITION)
    members = [
        member("./", type=tarfile.DIRTYPE),
        member("./sg00/", type=tarfile.DIRTYPE),
        member("sg00", type=tarfile.DIRTYPE),
        member("./sg00/def.json", definition),
    ]
    neff = read(tmp_path, plain(archive(*members)))
    found = [(m.name, m.kind) for m in neff.members]
    assert found == [("sg00", "folder"), ("sg00", "folder"), ("sg00/def.json", "definition")]
    assert len(neff.variables) == 5


def test_several_graphs(tmp_path: Path) -> None:
    one = json_bytes({"var": {"a": {"type": "input"}}})
    other = json_bytes({"var": {"a": {"type": "output"}}})
    neff = read(tmp_path, NeffFixture(archive=tar_bytes({"sg00/def.json": one, "nc0/sg01/def.json": other})))
    assert [(v.graph, v.name, v.kind) for v in neff.variables] == [("sg00", "a", "input"), ("sg01", "a", "output")]


def test_json_that_is_too_large_is_named_and_not_read(tmp_path: Path) -> None:
    members = sound_members() | {"neff.json": b"[" * 300, "sg00/def.json": b"[" * 3000}
    neff = read(tmp_path, NeffFixture(archive=tar_bytes(members)), SMALL)
    assert neff.unread == ("neff.json", "sg00/def.json")
    assert (neff.variables, sorted(neff.documents)) == ((), ["info.json", "metrics.json"])


@pytest.mark.parametrize(
    ("offset", "piece", "message"),
    [
        (0x000, struct.pack("<Q", 0), "is no NEFF that is known here: it is of package version 0"),
        (0x000, b"\xff" * 8, f"is of package version {(1 << 64) - 1}"),
        (0x008, struct.pack("<Q", 512), "it says that its header has 512 bytes, and not 1024"),
        (0x010, struct.pack("<Q", 1 << 60), f"is cut off: its header says that {1 << 60} bytes follow"),
        (0x010, struct.pack("<Q", 0), "is longer than it says: 0 bytes should follow"),
        (
            0x028,
            FIXTURE.encode() * 18 + b"FI",
            "the compiler's version in its header does not end within its 128 bytes",
        ),
        (0x0DC, b"FIXTURE\xff", "the model's name in its header is not UTF-8"),
        (0x0DC, b"x" * 256, "the model's name in its header does not end within its 256 bytes"),
    ],
)
def test_a_header_that_lies(tmp_path: Path, offset: int, piece: bytes, message: str) -> None:
    (found,) = refused(tmp_path, NeffFixture(fields={offset: piece}))
    assert message in found


def test_files_that_are_none(tmp_path: Path) -> None:
    for data in (b"", b"\0", b"PK\x03\x04", bytes(1023), bytes(1024), os.urandom(3000)):
        assert refused(tmp_path, data)
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        read_neff(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"cannot be read: Is a directory|is not a regular file"):
        read_neff(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleError, match="is not a regular file"):
        read_neff(tmp_path / "pipe")


def test_a_file_that_is_cut_anywhere(tmp_path: Path) -> None:
    for fixture in (NeffFixture(), NeffFixture(compressed=False)):
        data = fixture.to_bytes()
        for end in (0, 1, 500, 1023, 1024, 1025, 1100, len(data) - 1):
            (found,) = refused(tmp_path, data[:end])
            assert "is cut off" in found or "a header alone has 1024" in found


def test_an_archive_that_is_cut_anywhere(tmp_path: Path) -> None:
    """With a header that agrees."""
    data = NeffFixture().archive
    end = len(data.rstrip(b"\0"))
    for size in (0, 1, 511, 512, 700, 1024, 1536, end - 1, end):
        (found,) = refused(tmp_path, plain(data[:size]))
        assert "has an archive that is cut off: it ends within" in found
    stream = gzip.compress(data, mtime=0)
    for size in (2, 10, 100, len(stream) // 2, len(stream) - 8, len(stream) - 1):
        (found,) = refused(tmp_path, NeffFixture(payload=stream[:size]))
        assert "is cut off" in found


def test_a_damaged_gzip_stream(tmp_path: Path) -> None:
    stream = bytearray(gzip.compress(NeffFixture().archive, mtime=0))
    stream[-6] ^= 1
    (found,) = refused(tmp_path, NeffFixture(payload=bytes(stream)))
    assert "has a damaged gzip stream" in found
    (found,) = refused(tmp_path, NeffFixture(payload=b"\x1f\x8b" + bytes(100)))
    assert "has a damaged gzip stream" in found


@pytest.mark.parametrize("extra", [b"x", bytes(512), gzip.compress(b"", mtime=0)])
def test_bytes_after_the_gzip_stream(tmp_path: Path, extra: bytes) -> None:
    (found,) = refused(tmp_path, NeffFixture(payload=gzip.compress(NeffFixture().archive) + extra))
    assert "has bytes after its gzip stream" in found


def test_bytes_after_the_archive(tmp_path: Path) -> None:
    for compressed in (True, False):
        fixture = NeffFixture(archive=NeffFixture().archive + b"hidden", compressed=compressed)
        (found,) = refused(tmp_path, fixture)
        assert "has bytes after the end of its archive" in found
        more = NeffFixture(archive=NeffFixture().archive + bytes(100_000), compressed=compressed)
        assert read(tmp_path, more).digest_matches


def test_a_member_that_claims_terabytes(tmp_path: Path) -> None:
    lying, _ = member("sg00/def.json", size=1 << 42)
    for compressed in (True, False):
        fixture = NeffFixture(archive=lying.tobuf(tarfile.GNU_FORMAT) + bytes(2048), compressed=compressed)
        (found,) = refused(tmp_path, fixture)
        assert "it ends within sg00/def.json" in found


def test_a_member_that_claims_less_or_more_than_it_has(tmp_path: Path) -> None:
    for size in (0, 1, 600, 3000):
        info, data = member("neff.json", b"{" + b" " * 998 + b"}", size=size)
        found = refused(tmp_path, plain(info.tobuf(tarfile.GNU_FORMAT) + data + bytes(24 + 1024)))
        assert found


def test_a_size_below_zero(tmp_path: Path) -> None:
    info, _ = member("a")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (found,) = refused(tmp_path, plain(bytes(header) + bytes(1024)))
    assert "no header after its beginning" in found


def test_a_broken_header(tmp_path: Path) -> None:
    data = bytearray(archive(member("a"), member("b")))
    data[512] ^= 1
    (found,) = refused(tmp_path, plain(bytes(data)))
    assert "no header after a" in found


def peak(folder: Path, fixture: NeffFixture, limits: Limits = LIMITS) -> tuple[str, int]:
    """The only message, and how many bytes of memory were ever taken at once."""
    path = folder / FILE_NAME
    path.write_bytes(fixture.to_bytes())
    tracemalloc.start()
    try:
        with pytest.raises(BundleError) as caught:
            read_neff(path, limits)
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def deflated(pieces: Iterable[bytes]) -> bytes:
    stream = zlib.compressobj(9, wbits=31)
    return b"".join([*map(stream.compress, pieces), stream.flush()])


def test_a_gzip_stream_that_expands_without_end(tmp_path: Path) -> None:
    """Two gigabytes of zeros within a member that claims them, in two megabytes."""
    info, _ = member("sg00/weight.bin", size=2 << 30)
    stream = zlib.compressobj(9, wbits=31)
    begin = stream.compress(info.tobuf(tarfile.GNU_FORMAT)) + stream.flush(zlib.Z_FULL_FLUSH)
    zeros = stream.compress(bytes(1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH)
    bomb = begin + zeros * 2048
    message, memory = peak(tmp_path, NeffFixture(payload=bomb))
    assert f"more than {1 << 30} bytes came out of its gzip stream" in message
    assert memory < 8 << 20


def test_zeros_without_end_after_the_archive(tmp_path: Path) -> None:
    message, memory = peak(tmp_path, NeffFixture(payload=deflated([bytes(64 << 20)])), SMALL)
    assert "came out of its gzip stream" in message
    assert memory < 4 << 20


def test_a_large_archive_may_expand_as_its_size_allows(tmp_path: Path) -> None:
    data = tar_bytes({"sg00/pe.bin": os.urandom(1 << 20)})
    assert read(tmp_path, NeffFixture(archive=data), SMALL).digest_matches


def test_headers_without_end(tmp_path: Path) -> None:
    one = archive(member("a", type=tarfile.DIRTYPE))[:512]
    message, memory = peak(tmp_path, NeffFixture(payload=deflated([one * 1000] * 20)), Limits(headers=10_000))
    assert "has more than 10000 headers" in message
    assert memory < 8 << 20


def test_long_names_without_end(tmp_path: Path) -> None:
    names = (f"{number:04000}" for number in range(6000))
    message, memory = peak(tmp_path, NeffFixture(payload=deflated([tar_bytes({name: b""})[:5120] for name in names])))
    assert "take more than 16777216 bytes" in message
    assert memory < 64 << 20


def test_a_header_about_a_member_that_is_enormous(tmp_path: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
        info, _ = member("x", type=kind, size=1 << 40)
        message, memory = peak(tmp_path, NeffFixture(archive=info.tobuf(tarfile.GNU_FORMAT) + bytes(2048)))
        assert f"a header about a member has {1 << 40} bytes" in message
        assert memory < 1 << 20


@pytest.mark.parametrize(
    "records",
    [b"", b"x", b"5 a=", b"99 path=a\n", b"0 path=a\n", b"10 path=aaa", b"6 abc\n", b"9 size=x\n", b"10 size=-1\n",
     b"9 path=a\n7 a=b\n", b"8 path=\n", b"22 GNU.sparse.major=1\n"],
)  # fmt: skip
def test_an_extended_header_that_cannot_be_read(tmp_path: Path, records: bytes) -> None:
    extended = member("x", records, type=tarfile.XHDTYPE)
    fixture = plain(archive(extended, member("b", b"1")))
    if records == b"":
        assert [found.name for found in read(tmp_path, fixture).members] == ["b"]
    else:
        assert len(refused(tmp_path, fixture)) == 1


def test_an_extended_header_for_all_members(tmp_path: Path) -> None:
    comment = member("g", b"13 comment=a\n", type=tarfile.XGLTYPE)
    assert len(read(tmp_path, plain(archive(comment, member("b", b"1")))).members) == 1
    for records in (b"9 path=a\n", b"9 size=1\n"):
        (found,) = refused(tmp_path, plain(archive(member("g", records, type=tarfile.XGLTYPE), member("b"))))
        assert "one name or size of all members" in found


def test_a_header_about_a_member_that_does_not_come(tmp_path: Path) -> None:
    (found,) = refused(tmp_path, plain(archive(member("x", b"9 path=a\n", type=tarfile.XHDTYPE))))
    assert "about a member that does not come" in found


def test_all_that_is_no_file_is_told_at_once(tmp_path: Path) -> None:
    members = [
        member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("hard", type=tarfile.LNKTYPE, linkname="neff.json"),
        member("char", type=tarfile.CHRTYPE),
        member("block", type=tarfile.BLKTYPE),
        member("pipe", type=tarfile.FIFOTYPE),
        member("strange", type=b"~"),
        member("/etc/absolute", b"1"),
        member("../escape", b"1"),
        member("a/../../b", b"1"),
        member("./..", b"1"),
        member("twice", b"1"),
        member("./twice", b"2"),
    ]
    for compressed in (True, False):
        found = refused(tmp_path, NeffFixture(archive=archive(*members), compressed=compressed))
        assert found == [
            ": link: is a symbolic link, which no NEFF has",
            ": hard: is a hard link, which no NEFF has",
            ": char: is a device, which no NEFF has",
            ": block: is a device, which no NEFF has",
            ": pipe: is a pipe, which no NEFF has",
            ": strange: is of the unknown kind b'~', which no NEFF has",
            ": /etc/absolute: has a name that leads out of the archive",
            ": ../escape: has a name that leads out of the archive",
            ": a/../../b: has a name that leads out of the archive",
            ": ./..: has a name that leads out of the archive",
            ": ./twice: is there more than once",
        ]


def test_names_that_are_none(tmp_path: Path) -> None:
    strange = member("x", b"12 path=a\0b\n", type=tarfile.XHDTYPE)
    found = refused(tmp_path, plain(archive(member("", b"1"), strange, member("b"))))
    assert found == [
        ": a member without a name: has no name",
        ": a\0b: has a name that leads out of the archive",
    ]


def test_a_size_in_an_extended_header(tmp_path: Path) -> None:
    """As a member of more than 8 GiB has it: its own header says another one."""
    document = b'"' + b"x" * 698 + b'"'
    info, _ = member("info.json")
    extended = archive(member("x", b"12 size=700\n", type=tarfile.XHDTYPE))[:1024]
    data = extended + info.tobuf(tarfile.GNU_FORMAT) + document + bytes(-700 % 512) + bytes(1024)
    neff = read(tmp_path, plain(data))
    assert neff.members == (NeffMember("info.json", 700, "metadata"),)
    assert neff.documents == {"info.json": "x" * 698}


def test_a_sparse_file(tmp_path: Path) -> None:
    (found,) = refused(tmp_path, plain(archive(member("a", b"1", type=tarfile.GNUTYPE_SPARSE))))
    assert "has a sparse file, which no NEFF has: a" in found


def test_what_was_seen_before_an_archive_ends_is_told_too(tmp_path: Path) -> None:
    link = member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    found = refused(tmp_path, plain(archive(link)[:-1024] + b"x" * 512))
    assert len(found) == 2


def test_faults_without_end(tmp_path: Path) -> None:
    links = [member(f"link{number}", type=tarfile.SYMTYPE) for number in range(1000)]
    assert len(refused(tmp_path, plain(archive(*links)))) == 101


@pytest.mark.parametrize("name", ["neff.json", "sg00/def.json"])
@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff", b"[" * 60_000, b'{"a":' * 12_000, b'"\\ud800"', b"1" * 50_000, b'{"a": 1} 2'],
    ids=["empty", "open", "not UTF-8", "nested lists", "nested objects", "half a character", "a long number", "more"],
)  # fmt: skip
def test_json_that_is_none(tmp_path: Path, name: str, data: bytes) -> None:
    (found,) = refused(tmp_path, NeffFixture(archive=tar_bytes({name: data})))
    assert found.startswith(f": {name}: is not JSON")
    assert len(found) < 300


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ([], "is no definition of a graph"),
        ({"var": []}, "is no definition of a graph"),
        ({"var": {"a": 1}}, ": a: is a variable that is no object"),
        ({"var": {"a": {}}}, ": a: is a variable without a type"),
        ({"var": {"a": {"type": 1}}}, ": a: is a variable without a type"),
        ({"var": {"a": {"type": "input", "size": -1}}}, ": a: is a variable of size -1"),
        ({"var": {"a": {"type": "input", "size": True}}}, ": a: is a variable of size True"),
        ({"var": {"a": {"type": "input", "size": "128"}}}, ": a: is a variable of size 128"),
        ({"var": {"a": {"type": "input", "size": 10**30}}}, ": a: is a variable of size 1000"),
    ],
)
def test_a_definition_that_lies(tmp_path: Path, definition: Any, message: str) -> None:
    (found,) = refused(tmp_path, NeffFixture(archive=tar_bytes({"sg00/def.json": json_bytes(definition)})))
    assert message in found


def test_a_definition_without_variables(tmp_path: Path) -> None:
    assert read(tmp_path, NeffFixture(archive=tar_bytes({"sg00/def.json": b"{}"}))).variables == ()


@pytest.mark.parametrize("shape", ["2x2", [-1], [1.5], [True], ["n"], {}, None])
def test_what_is_not_documented_is_left_out_where_it_has_another_form(tmp_path: Path, shape: Any) -> None:
    definition = {"var": {"a": {"type": "input", "shape": shape, "dtype": shape, "internal_shape": [2]}}}
    (variable,) = read(tmp_path, NeffFixture(archive=tar_bytes({"sg00/def.json": json_bytes(definition)}))).variables
    assert variable.shape == (2,)
    assert variable.dtype == (shape if isinstance(shape, str) else None)


def test_wrong_variables_without_end(tmp_path: Path) -> None:
    definition: dict[str, Any] = {"var": {str(number): {} for number in range(1000)}}
    assert len(refused(tmp_path, NeffFixture(archive=tar_bytes({"sg00/def.json": json_bytes(definition)})))) == 100


def test_variables_without_end(tmp_path: Path) -> None:
    definition = json_bytes({"var": {str(number): {"type": ""} for number in range(15)}})
    members = {"sg00/def.json": definition, "sg01/def.json": definition}
    (found,) = refused(tmp_path, NeffFixture(archive=tar_bytes(members)), SMALL)
    assert "has more than 20 variables" in found


def test_definitions_without_end(tmp_path: Path) -> None:
    """All of them together are bounded, as each is."""
    definition = json_bytes({"var": {}, "more": "x" * 900})
    members = {f"sg{number:02}/def.json": definition for number in range(5)}
    limits = dataclasses.replace(SMALL, definitions=2000)
    neff = read(tmp_path, NeffFixture(archive=tar_bytes(members)), limits)
    assert neff.unread == ("sg02/def.json", "sg03/def.json", "sg04/def.json")


def test_the_largest_definition_is_read_in_bounded_memory_and_time(tmp_path: Path) -> None:
    definition = b'{"var": {}, "x": [' + b"{}," * ((LIMITS.definition - 30) // 3) + b"1]}"
    path = tmp_path / FILE_NAME
    path.write_bytes(NeffFixture(archive=tar_bytes({"sg00/def.json": definition})).to_bytes())
    tracemalloc.start()
    began = time.process_time()
    try:
        assert read_neff(path).unread == ()
        assert tracemalloc.get_traced_memory()[1] < 400 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 20


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        for name in ("\xff", "\xfe" * 300):
            tar.addfile(tarfile.TarInfo(name))
    assert [found.name for found in read(tmp_path, plain(out.getvalue())).members] == ["\\xff", "\\xfe" * 300]
