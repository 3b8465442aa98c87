"""A trained reader of text lines: what comes out of the bundle is the text, not numbers that are near others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from artifacts.runtime import Session
from examples.ocr.demo import text_of
from tests.support.cli import unspool
from tests.support.models import OCR, Array, BundleCache

LINES = 24


@pytest.fixture(scope="module")
def lines() -> Mapping[str, Array]:
    """images float32 [256, 1, 16, 320], targets int64 [256, t]."""
    with np.load(OCR / "eval.npz") as archive:
        return {"images": archive["images"].astype(np.float32), "targets": archive["targets"]}


@pytest.fixture(scope="module")
def session(cache: BundleCache) -> Session:
    return Session.open(cache.ocr())


def read(session: Session, images: Array) -> list[str]:
    results = session.run({"image": images})
    return [text_of(row[:length]) for row, length in zip(results["tokens"], results["lengths"], strict=True)]


def test_it_reads_the_text_of_images(session: Session, lines: Mapping[str, Array]) -> None:
    known = [text_of(row) for row in lines["targets"][:LINES]]
    assert len(set(known)) == LINES
    assert read(session, lines["images"][:LINES]) == known


@pytest.mark.slow
def test_it_reads_every_line(session: Session, lines: Mapping[str, Array]) -> None:
    known = [text_of(row) for row in lines["targets"]]
    found = [text for start in range(0, 256, 32) for text in read(session, lines["images"][start : start + 32])]
    assert found == known


def test_a_batch_of_mixed_lengths_equals_its_lines_one_by_one(session: Session, lines: Mapping[str, Array]) -> None:
    images = lines["images"][LINES : LINES + 8]
    batch = session.run({"image": images})
    assert len(set(batch["lengths"].tolist())) > 3
    for image, tokens, length in zip(images, batch["tokens"], batch["lengths"], strict=True):
        alone = session.run({"image": image[None]})
        assert alone["lengths"].tolist() == [length]
        assert alone["tokens"][0].tolist() == tokens[:length].tolist()
        assert not tokens[length:].any(), "what follows the end is padding"


def test_tokens_end_with_the_end_and_do_not_begin_with_the_start(session: Session, lines: Mapping[str, Array]) -> None:
    results = session.run({"image": lines["images"][:4]})
    for tokens, length in zip(results["tokens"], results["lengths"], strict=True):
        assert tokens[length - 1] == 2
        assert not {0, 1, 2} & set(tokens[: length - 1].tolist())


def test_what_the_caller_gives_is_the_image_alone(session: Session) -> None:
    assert [spec.name for spec in session.signature.inputs] == ["image"]
    assert [spec.name for spec in session.signature.outputs] == ["tokens", "lengths"]


def test_verify_decodes_as_the_source_does(capsys: pytest.CaptureFixture[str], cache: BundleCache) -> None:
    found = unspool(capsys, "verify", cache.ocr(), "--json")
    assert found.status == 0
    assert {check["output"] for check in found.document["checks"]} == {"logits", "tokens", "lengths"}
