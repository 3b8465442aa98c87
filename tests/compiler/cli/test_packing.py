from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from tests.support.cli import unspool


def test_a_bundle_goes_through_a_file(
    capsys: pytest.CaptureFixture[str], perceptron_bundle: Path, tmp_path: Path
) -> None:
    packed = unspool(capsys, "pack", perceptron_bundle, "-o", tmp_path / "p.tar")
    size = (tmp_path / "p.tar").stat().st_size
    bundle = Bundle.open(perceptron_bundle)
    assert (packed.status, packed.stderr) == (0, "")
    assert packed.stdout == f"{tmp_path / 'p.tar'}: {len(bundle.manifest.files)} files, {size / 1e6:.1f} MB\n"
    found = unspool(capsys, "unpack", tmp_path / "p.tar", "-o", tmp_path / "u")
    assert (found.status, found.stderr) == (0, "")
    assert found.stdout == f"{tmp_path / 'u'}: {len(bundle.manifest.files)} files\n"
    assert (tmp_path / "u" / "manifest.json").read_bytes() == (perceptron_bundle / "manifest.json").read_bytes()
    assert unspool(capsys, "verify", tmp_path / "u").status == 0


def test_the_documents_name_the_bundle(
    capsys: pytest.CaptureFixture[str], perceptron_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "p.tar"
    digest = Bundle.open(perceptron_bundle).manifest.digest
    packed = unspool(capsys, "pack", perceptron_bundle, "-o", file, "--json").document
    assert packed == {
        **{"ok": True, "errors": [], "bundle": str(perceptron_bundle), "file": str(file)},
        **{"bytes": file.stat().st_size, "digest": digest},
    }
    unpacked = unspool(capsys, "unpack", file, "-o", tmp_path / "u", "--json").document
    assert (unpacked["ok"], unpacked["bundle"], unpacked["digest"]) == (True, str(tmp_path / "u"), digest)


def test_what_is_there_stays_unless_forced(
    capsys: pytest.CaptureFixture[str], perceptron_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "p.tar"
    file.write_bytes(b"mine")
    found = unspool(capsys, "pack", perceptron_bundle, "-o", file, "--json")
    assert (found.status, found.error["hint"]) == (1, "replace it with --force")
    assert file.read_bytes() == b"mine"
    assert unspool(capsys, "pack", perceptron_bundle, "-o", file, "--force").status == 0
    assert unspool(capsys, "unpack", file, "-o", tmp_path / "u").status == 0
    found = unspool(capsys, "unpack", file, "-o", tmp_path / "u", "--json")
    assert (found.status, found.error["hint"]) == (1, "replace it with --force")
    assert unspool(capsys, "unpack", file, "-o", tmp_path / "u", "--force").status == 0


def test_a_file_within_the_bundle_is_a_wrong_call(capsys: pytest.CaptureFixture[str], perceptron_copy: Path) -> None:
    assert unspool(capsys, "pack", perceptron_copy, "-o", perceptron_copy / "p.tar").status == 2
