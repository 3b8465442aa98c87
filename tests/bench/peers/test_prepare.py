from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.runtime import Session
from artifacts.samples import read_arrays
from tests.bench.peers.prepare import shortened
from tests.support.decode_forms import DRAFTED
from tests.support.models import DATA, OCR, BundleCache


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return BundleCache.of(tmp_path_factory).ocr()


def test_a_shortened_bundle_writes_the_first_tokens(bundle: Path, tmp_path: Path) -> None:
    manifest = (bundle / "manifest.json").read_bytes()
    folder = tmp_path / "short"
    for _ in range(2):  # over what is there, too
        shortened(bundle, folder, 4)
    inputs = {"image": read_arrays(OCR / "eval.npz")["images"][:2].astype(np.float32)}
    with Session.open(bundle) as whole, Session.open(folder) as short:
        expected = whole.run(inputs)["tokens"]
        assert expected.shape[1] > 4
        np.testing.assert_array_equal(short.run(inputs)["tokens"], expected[:, :4])
    assert (bundle / "manifest.json").read_bytes() == manifest


@pytest.mark.parametrize("length", [2, 4, 7])
def test_a_bundle_that_guesses_is_shortened_too(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, length: int
) -> None:
    source = DATA / "t5_tiny" / "model.onnx"
    bundle = DRAFTED.bundle(BundleCache.of(tmp_path_factory), source)
    shortened(bundle, tmp_path / "short", length)
    answers = read_arrays(source.parent / "generate.npz")
    with Session.open(bundle) as whole, Session.open(tmp_path / "short") as short:
        for row, width in enumerate(answers["attention_mask"].sum(axis=1)):
            inputs = {name: answers[name][row : row + 1, :width] for name in ("input_ids", "attention_mask")}
            found, expected = (session.run(inputs)["tokens"] for session in (short, whole))
            np.testing.assert_array_equal(found, expected[:, :length])
