"""Hostile archives: what somebody makes who knows the format, with headers and digests that agree."""

from __future__ import annotations

import io
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from artifacts.archive import MAX_REPORT_BYTES, ending
from artifacts.bundle import MAX_MANIFEST_BYTES, Bundle
from artifacts.errors import BundleError
from artifacts.packing import pack, unpack
from tests.artifacts.test_packing import names


@dataclass
class Forgery:
    """The members of an archive, to be changed and written again."""

    members: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)
    format: Literal[0, 1, 2] = tarfile.PAX_FORMAT
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> Forgery:
        with tarfile.open(path) as tar:
            return cls([(member, tar.extractfile(member).read()) for member in tar])  # type: ignore[union-attr]

    def at(self, path: str) -> int:
        return next(number for number, (info, _) in enumerate(self.members) if info.name == path)

    def info(self, path: str) -> tarfile.TarInfo:
        return self.members[self.at(path)][0]

    def add(self, name: str, data: bytes = b"", **fields: object) -> None:
        """A member before the last one."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for key, value in fields.items():
            setattr(info, key, value)
        self.members.insert(-1, (info, data))

    def to_bytes(self) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=self.format, pax_headers=self.headers) as tar:
            for info, data in self.members:
                tar.addfile(info, io.BytesIO(data))
        return out.getvalue()


@pytest.fixture(scope="module")
def archive(linear_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The linear bundle as one file. Read-only."""
    return pack(linear_bundle.root, tmp_path_factory.mktemp("archive") / "bundle.tar").path


def refused(tmp_path: Path, data: bytes) -> dict[str, str]:
    """Unpack in a folder of its own: the messages by member. Nothing may be written, there or elsewhere."""
    (tmp_path / "place").mkdir()
    file = tmp_path / "forged.tar"
    file.write_bytes(data)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError) as caught:
        unpack(file, tmp_path / "place" / "u")
    assert sorted(tmp_path.rglob("*")) == before
    assert all(problem.hint for problem in caught.value.problems)
    return {problem.subject.removeprefix(f"{file}: "): problem.message for problem in caught.value.problems}


def test_a_forgery_without_a_change_is_the_archive(archive: Path) -> None:
    """Python's own writer gives the same bytes: what is refused below is refused for its change."""
    assert Forgery.of(archive).to_bytes() == archive.read_bytes()


ENGINE = "engines/one-main.onnx"


def renamed(forgery: Forgery, name: str) -> None:
    forgery.info(ENGINE).name = name


def retyped(forgery: Forgery, kind: bytes, target: str = "") -> None:
    number = forgery.at(ENGINE)
    info, _ = forgery.members[number]
    info.type, info.linkname, info.size = kind, target, 0
    forgery.members[number] = (info, b"")


def doubled(forgery: Forgery, other: bytes | None = None) -> None:
    _, data = forgery.members[forgery.at(ENGINE)]
    forgery.add(ENGINE, data if other is None else other)


def sparse(forgery: Forgery) -> None:
    """GNU's pax form: a name, a real size that a byte of data stands for, and a map."""
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    headers |= {"GNU.sparse.name": "extra", "GNU.sparse.realsize": str(1 << 40)}
    forgery.add("GNUSparseFile.0/extra", b"0\n".ljust(512, b"\0"), pax_headers=headers)


def overlong(forgery: Forgery) -> None:
    """A pax header that gives a listed file another size than its ustar header."""
    forgery.info(ENGINE).pax_headers = {"size": "1"}


def reordered(forgery: Forgery) -> None:
    forgery.members.insert(2, forgery.members.pop())


def resized(forgery: Forgery) -> None:
    number = forgery.at(ENGINE)
    info, data = forgery.members[number]
    info.size += 512
    forgery.members[number] = (info, data + bytes(512))


Attack = Callable[[Forgery], object]

ATTACKS: dict[str, tuple[Attack, str, str]] = {
    "a path above": (lambda f: f.add("../evil", b"x"), "../evil", "not in the manifest"),
    "a path above, within": (lambda f: f.add("engines/../../evil", b"x"), "engines/../../evil", "not in the manifest"),
    "an absolute path": (lambda f: f.add("/tmp/evil", b"x"), "/tmp/evil", "not in the manifest"),
    "another separator": (lambda f: f.add("..\\evil", b"x"), "..\\evil", "not in the manifest"),
    "a listed path with a dot": (lambda f: renamed(f, f"./{ENGINE}"), f"./{ENGINE}", "not in the manifest"),
    "a listed path, doubled slash": (lambda f: renamed(f, f"/{ENGINE}"), f"/{ENGINE}", "not in the manifest"),
    "a file that is not listed": (lambda f: f.add("extra", b"x"), "extra", "not in the manifest"),
    "a long name that is not listed": (lambda f: f.add("n" * 900, b"x"), "././@PaxHeader", "extended header"),
    "an empty name": (lambda f: f.add("", b"x"), "a member without a name", "not in the manifest"),
    "bytes that are no text": (lambda f: f.add("\udcff", b"x"), "././@PaxHeader", "extended header"),
    "a symbolic link": (lambda f: retyped(f, tarfile.SYMTYPE, "/etc/passwd"), ENGINE, "symbolic link"),
    "a hard link": (lambda f: retyped(f, tarfile.LNKTYPE, "manifest.json"), ENGINE, "hard link"),
    "a link that is not listed": (
        lambda f: f.add("engines/x", type=tarfile.SYMTYPE, linkname=".."),
        "engines/x",
        "symbolic link",
    ),
    "a folder": (lambda f: f.add("engines", type=tarfile.DIRTYPE), "engines", "is a folder"),
    "a folder in a file's place": (lambda f: retyped(f, tarfile.DIRTYPE), ENGINE, "is a folder"),
    "a character device": (lambda f: f.add("extra", type=tarfile.CHRTYPE, devmajor=1, devminor=5), "extra", "device"),
    "a block device": (lambda f: f.add("extra", type=tarfile.BLKTYPE, devmajor=8), "extra", "device"),
    "a pipe": (lambda f: f.add("extra", type=tarfile.FIFOTYPE), "extra", "pipe"),
    "a contiguous file": (lambda f: f.add("extra", b"x", type=tarfile.CONTTYPE), "extra", "not in the manifest"),
    "an unknown kind": (lambda f: f.add("extra", b"x", type=b"Z"), "extra", "unknown kind"),
    "a sparse file of pax": (sparse, "././@PaxHeader", "extended header"),
    "another size in pax": (overlong, "././@PaxHeader", "extended header"),
    "an extended header for all": (
        lambda f: f.headers.update(path="evil"),
        "manifest.json",
        "not what the file begins",
    ),
    "a file twice": (doubled, ENGINE, "more than once"),
    "a file twice, of other size": (lambda f: doubled(f, b"x"), ENGINE, "has 1 bytes, the manifest says"),
    "the manifest twice": (lambda f: f.add("manifest.json", b"{}"), "manifest.json", "not in the manifest"),
    "the report early": (reordered, "engines/two-main.onnx", "not in its place: it comes after build.json"),
    "a report twice": (lambda f: f.add("build.json", b"{}"), "build.json", "more than once"),
    "a longer file": (resized, ENGINE, "bytes, the manifest says"),
    "a missing file": (lambda f: f.members.pop(f.at(ENGINE)), ENGINE, "is missing"),
    "an owner": (lambda f: setattr(f.info(ENGINE), "uid", 1), ENGINE, "an owner, a time, a mode"),
    "an owner's name": (lambda f: setattr(f.info(ENGINE), "uname", "root"), ENGINE, "an owner, a time, a mode"),
    "a time": (lambda f: setattr(f.info(ENGINE), "mtime", 1), ENGINE, "an owner, a time, a mode"),
    "a mode": (lambda f: setattr(f.info(ENGINE), "mode", 0o4755), ENGINE, "an owner, a time, a mode"),
    "a time of the manifest": (lambda f: setattr(f.info("manifest.json"), "mtime", 1), "manifest.json", "a time"),
    "no manifest": (lambda f: f.members.pop(0), "manifest.json", "not what the file begins with"),
    "a manifest that is a link": (
        lambda f: f.members.insert(0, (_link("manifest.json"), b"")),
        "manifest.json",
        "is a symbolic link",
    ),
    "GNU's format": (lambda f: setattr(f, "format", tarfile.GNU_FORMAT), "manifest.json", "an owner, a time, a mode"),
}


def _link(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_archive_is_refused_before_anything_is_written(archive: Path, tmp_path: Path, attack: str) -> None:
    change, subject, message = ATTACKS[attack]
    forgery = Forgery.of(archive)
    change(forgery)
    found = refused(tmp_path, forgery.to_bytes())
    assert message in found[subject], found


def test_everything_wrong_comes_at_once(archive: Path, tmp_path: Path) -> None:
    forgery = Forgery.of(archive)
    number = forgery.at("samples/inputs.npz")
    info, data = forgery.members[number]
    forgery.members[number] = (info, data[::-1])
    forgery.add("../evil", b"x")
    forgery.add("link", type=tarfile.SYMTYPE, linkname="/")
    forgery.members.pop(forgery.at(ENGINE))
    doubled_info, doubled_data = forgery.members[forgery.at("samples/outputs.npz")]
    forgery.members.append((doubled_info, doubled_data))
    found = refused(tmp_path, forgery.to_bytes())
    assert {subject: message.split(":")[0].split(";")[0] for subject, message in found.items()} == {
        "samples/inputs.npz": "was changed",
        "../evil": "is not in the manifest",
        "link": "is a symbolic link",
        ENGINE: "is missing",
        "samples/outputs.npz": "is there more than once",
    }


def test_digests_are_checked_together_and_nothing_stays(archive: Path, tmp_path: Path) -> None:
    forgery = Forgery.of(archive)
    changed = [ENGINE, "samples/inputs.npz"]
    for path in changed:
        info, data = forgery.members[forgery.at(path)]
        forgery.members[forgery.at(path)] = (info, data[::-1])
    assert list(refused(tmp_path, forgery.to_bytes())) == changed


def test_a_manifest_of_another_bundle_is_refused(archive: Path, tmp_path: Path) -> None:
    forgery = Forgery.of(archive)
    info, data = forgery.members[0]
    forgery.members[0] = (info, data.replace(b'"unspool":"0.1.0"', b'"unspool":"0.2.0"'))
    with pytest.raises(BundleError, match="its bytes are not the ones that were written"):
        unpack(_written(tmp_path / "f", forgery.to_bytes()), tmp_path / "u")
    assert names(tmp_path) == ["f"]


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("place", ["manifest.json", ENGINE, "build.json", "extra"])
def test_sizes_that_are_not_there_are_refused_without_memory(archive: Path, tmp_path: Path, place: str) -> None:
    """A bomb: a header that claims 8 TB, in a file whose holes make it as large."""
    size = 1 << 43
    forgery = Forgery.of(archive)
    forgery.format = tarfile.GNU_FORMAT if place == "manifest.json" else tarfile.PAX_FORMAT
    if place == "extra":
        forgery.add("extra")
    info = forgery.info(place)
    before = [(i, d) for i, d in forgery.members[: forgery.at(place)]]
    head = Forgery(before).to_bytes()
    end = sum(512 + len(d) + -len(d) % 512 for _, d in before)
    info.size = size
    file = tmp_path / "bomb.tar"
    file.write_bytes(head[:end] + info.tobuf(forgery.format))
    os.truncate(file, (file.stat().st_size + size + 10_239) // 10_240 * 10_240)
    tracemalloc.start()
    try:
        with pytest.raises(BundleError) as caught:
            unpack(file, tmp_path / "u")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert len(caught.value.problems) >= 1
    assert names(tmp_path) == ["bomb.tar"]


@pytest.mark.parametrize(("path", "most"), [("manifest.json", MAX_MANIFEST_BYTES), ("build.json", MAX_REPORT_BYTES)])
def test_what_no_digest_bounds_has_a_bound_of_its_own(archive: Path, tmp_path: Path, path: str, most: int) -> None:
    forgery = Forgery.of(archive)
    info = forgery.info(path)
    at = info.offset
    info.size = most + 1
    file = _written(tmp_path / "f", archive.read_bytes()[:at] + info.tobuf())
    os.truncate(file, at + 512 + (most + 1 + 511) // 512 * 512)
    with file.open("ab") as out:
        out.write(ending(file.stat().st_size))
    with pytest.raises(BundleError, match="is too large"):
        unpack(file, tmp_path / "u")
    assert names(tmp_path) == ["f"]


def test_a_million_members_that_do_not_belong_are_not_all_told(archive: Path, tmp_path: Path) -> None:
    forgery = Forgery.of(archive)
    head = archive.read_bytes()[: forgery.info("build.json").offset]
    found = refused(tmp_path, head + tarfile.TarInfo("x").tobuf() * 5000 + ending(len(head)))
    assert "was not read: 1000 members or more do not belong" in found["the rest"]
