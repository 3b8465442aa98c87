"""The same model gives the same bytes: in another folder, from another path, in a process with another hash seed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.cli import unspool_process
from tests.support.models import DATA, EXPORTS, OCR, BundleCache

REPORT = "build.json"


def files(bundle: Path) -> dict[str, bytes]:
    """Every file of a bundle but the report."""
    found = {str(path.relative_to(bundle)): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert REPORT in found
    return {name: data for name, data in found.items() if name != REPORT}


def compiled_elsewhere(folder: Path, name: str, model: Path, seed: str) -> Path:
    """The bundle of a copy of the model, by a process that runs in the folder and knows it by a relative path."""
    where = folder / "some" / "where else"
    where.mkdir(parents=True)
    copy = where / "renamed.onnx"
    shutil.copyfile(model, copy)
    for config in model.parent.glob("generation_config.json"):
        shutil.copy(config, where)
    arguments = ("compile", f"{name}=where else/{copy.name}", "-o", "../out")
    found = unspool_process(*arguments, cwd=where.parent, environment={"PYTHONHASHSEED": seed})
    assert found.status == 0, found.stderr
    return folder / "out"


def test_a_bundle_is_the_same_bytes_everywhere(cache: BundleCache, tmp_path: Path) -> None:
    here = cache.export("bert_tiny/model")
    there = compiled_elsewhere(tmp_path, "bert_tiny-model", DATA / "bert_tiny" / "model.onnx", "1")
    assert files(there) == files(here)


@pytest.mark.slow
@pytest.mark.parametrize("export", EXPORTS[1:])
def test_every_export_is_the_same_bytes_everywhere(cache: BundleCache, tmp_path: Path, export: str) -> None:
    there = compiled_elsewhere(tmp_path, export.replace("/", "-"), DATA / f"{export}.onnx", "2")
    assert files(there) == files(cache.export(export))


@pytest.mark.slow
def test_a_decoder_is_the_same_bytes_everywhere(cache: BundleCache, tmp_path: Path) -> None:
    there = compiled_elsewhere(tmp_path, "ocr", OCR / "model.onnx", "3")
    assert files(there) == files(cache.ocr())


def test_nothing_of_this_machine_is_in_a_bundle(cache: BundleCache) -> None:
    """Nor in the report: it is for people, and people copy bundles."""
    bundle = cache.ocr()
    for path in bundle.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for text in (str(Path.home()), str(bundle.parent), str(OCR.parent.parent), "site-packages"):
                assert text.encode() not in data, path
