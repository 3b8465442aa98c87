"""A trained recurrent decoder: words to phonemes, step by step, as the package that it comes from says them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from artifacts.runtime import Session
from compiler.generation import TokenFlags
from tests.support.decode_forms import DEFAULT, FORMS, DecodeForm
from tests.support.models import DATA, BundleCache, largest_error

FOLDER = DATA / "g2p_en"
START, END = 2, 3
LAST_LETTER = 2
"""The grapheme that ends a word; the letters follow it, in the alphabet's order."""


@pytest.fixture(scope="module")
def words() -> Mapping[str, list[int]]:
    """400 words with the ids of the phonemes that the package g2p_en gives."""
    with (FOLDER / "words.csv").open() as file:
        return {row["word"]: [int(phoneme) for phoneme in row["phoneme_ids"].split()] for row in csv.DictReader(file)}


TOKENS = TokenFlags(start=START, eos=(END,), pad=0, max_new_tokens=20)


def bundle_of(cache: BundleCache, form: DecodeForm) -> Path:
    return form.bundle(cache, FOLDER / "g2p.onnx", TOKENS)


def graphemes(word: str) -> list[int]:
    return [*(LAST_LETTER + 1 + ord(letter) - ord("a") for letter in word), LAST_LETTER]


def said(session: Session, words: Sequence[str]) -> dict[str, list[int]]:
    """The phonemes of words of one length, with the end token, in one batch."""
    results = session.run({"graphemes": np.array([graphemes(word) for word in words])})
    rows = zip(words, results["tokens"], results["lengths"], strict=True)
    return {word: tokens[:length].tolist() for word, tokens, length in rows}


def assert_said_as_the_package_does(bundle: Path, words: Mapping[str, list[int]]) -> None:
    """Words of one length in one batch, each to its own end; then a tenth of them one by one."""
    assert len(words) == 400
    expected = {word: [*phonemes, END] for word, phonemes in words.items()}
    found = dict[str, list[int]]()
    with Session.open(bundle) as session:
        for _, group in groupby(sorted(words, key=len), len):
            found |= said(session, list(group))
        alone = {word: said(session, [word])[word] for word in sorted(words)[::10]}
    assert found == expected
    assert alone == {word: expected[word] for word in alone}


def test_it_answers_as_its_source(cache: BundleCache) -> None:
    error = largest_error(bundle_of(cache, DEFAULT))
    print(f"g2p_en: largest error {error:.3g}")
    assert error < 1e-4


def test_every_word_is_said_as_the_package_says_it(cache: BundleCache, words: Mapping[str, list[int]]) -> None:
    assert_said_as_the_package_does(bundle_of(cache, DEFAULT), words)


@pytest.mark.slow
@pytest.mark.parametrize("form", [form for form in FORMS if form != DEFAULT], ids=str)
def test_every_word_is_said_in_every_form(cache: BundleCache, form: DecodeForm, words: Mapping[str, list[int]]) -> None:
    assert_said_as_the_package_does(bundle_of(cache, form), words)
