"""PP-OCRv4, compiled, finds a line of text, tells which way up it is, and reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.runtime import Session
from tests.support.models import Array, BundleCache, largest_error, source_outputs
from tests.support.ppocr import HEIGHT, LEFT, SCALE, WORDS, alphabet, ppocr_file, rendered, text_of

pytestmark = pytest.mark.slow


def compiled(cache: BundleCache, name: str) -> Path:
    return cache.compiled(f"ppocr-{name}", ppocr_file(name))


def answer(cache: BundleCache, name: str, image: Array) -> Array:
    with Session.open(compiled(cache, name), verify=False) as session:
        (output,) = session.run({"x": image}).values()
    return output


@pytest.mark.parametrize(("name", "bound"), [("det", 1e-4), ("cls", 1e-4), ("rec", 1e-3)])
def test_a_network_answers_as_its_source(cache: BundleCache, name: str, bound: float) -> None:
    error = largest_error(compiled(cache, name))
    print(f"PP-OCRv4 {name}: largest error {error:.3g}")
    assert error < bound


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_read(cache: BundleCache, word: str) -> None:
    scores = answer(cache, "rec", rendered(word))
    assert text_of(scores[0], alphabet()) == word


def test_words_are_read_in_a_batch_and_at_another_width(cache: BundleCache) -> None:
    images = np.concatenate([rendered(word, width=256) for word in WORDS])
    scores = answer(cache, "rec", images)
    assert [text_of(row, alphabet()) for row in scores] == list(WORDS)
    (expected,) = source_outputs(ppocr_file("rec"), {"x": images}).values()
    np.testing.assert_array_equal(scores.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("word", WORDS)
def test_a_line_upside_down_is_told_from_one_that_is_not(cache: BundleCache, word: str) -> None:
    upright = rendered(word, width=192)
    turned = np.ascontiguousarray(upright[..., ::-1, ::-1])
    scores = answer(cache, "cls", np.concatenate([upright, turned]))
    assert scores.argmax(-1).tolist() == [0, 1]
    assert scores.max(-1).min() > 0.9


def test_text_is_found_where_it_is(cache: BundleCache) -> None:
    top, left, word = 64, 40, WORDS[0]
    page = np.ones((1, 3, 192, 384), np.float32)
    page[..., top : top + HEIGHT, left : left + 320] = rendered(word)
    found = np.argwhere(answer(cache, "det", page)[0, 0] > 0.3)
    rows, columns = found[:, 0], found[:, 1]
    margin = 2 * SCALE
    assert top <= rows.min() <= rows.max() < top + HEIGHT
    assert left + LEFT - margin <= columns.min() <= left + LEFT + margin
    assert abs(columns.max() - (left + LEFT + len(word) * 6 * SCALE)) <= 2 * margin
