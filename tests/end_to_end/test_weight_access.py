"""Bundles answer the same however their engines take their weights, in every form of a decode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.bundle import Bundle
from artifacts.errors import RunError
from artifacts.host_cache import CACHE_VARIABLE
from artifacts.manifest import Access
from artifacts.runtime import Session
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile, Precision
from tests.support.cli import unspool
from tests.support.decode_forms import DEFAULT, FORMS, DecodeForm
from tests.support.models import OCR, Array, BundleCache

LINES = 8
WAYS: tuple[Access, ...] = ("prepacked", "mapped", "cached", "cached")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def images() -> Array:
    with np.load(OCR / "eval.npz") as archive:
        return np.asarray(archive["images"][:LINES], np.float32)


def assert_same_tokens(bundle: Path, images: Array) -> None:
    found = []
    for way in WAYS:
        with Session.open(bundle, weights=way, threads=1) as session:
            found.append(session.run({"image": images})["tokens"])
    for tokens in found[1:]:
        np.testing.assert_array_equal(tokens, found[0])


def test_the_default_decode_reads_the_same(cache: BundleCache, images: Array) -> None:
    assert_same_tokens(cache.ocr(), images)


@pytest.mark.slow  # compiles the reader in every form
@pytest.mark.parametrize("form", [form for form in FORMS if form != DEFAULT], ids=str)
def test_every_form_reads_the_same(cache: BundleCache, form: DecodeForm, images: Array) -> None:
    assert_same_tokens(form.bundle(cache, OCR / "model.onnx"), images)


def test_run_takes_them_as_it_is_told(
    cache: BundleCache, images: Array, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "in.npz", image=images)

    def status(way: str) -> int:
        return unspool(capsys, "run", cache.ocr(), "--inputs", tmp_path / "in.npz", "--weights", way).status

    assert (status("mapped"), folder.exists()) == (0, False)
    assert (status("cached"), folder.exists()) == (0, True)
    assert status("refit") == 2


@pytest.mark.slow  # compiles the reader once more
def test_products_of_quantised_blocks_are_never_read_unpacked(cache: BundleCache, images: Array) -> None:
    options = CompileOptions(precision=Precision.INT4_WEIGHT)
    model = ModelFile("ocr", OCR / "model.onnx")
    bundle = cache.get("ocr-int4-weight-ways", lambda folder: compile_bundle([model], folder, options))
    ways = {way for engine in Bundle.open(bundle).manifest.engines.values() for way in engine.weights.ways}
    assert ways == {"prepacked", "cached"}
    with pytest.raises(RunError, match="cannot run with mapped weights"):
        Session.open(bundle, weights="mapped")
    found = []
    ways_to_open: tuple[Access | None, ...] = (None, "cached")
    for way in ways_to_open:
        with Session.open(bundle, weights=way) as session:
            found.append(session.run({"image": images})["tokens"])
    np.testing.assert_array_equal(found[1], found[0])
