"""A trained recurrent decoder: words to phonemes, step by step, as the package that it comes from says them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from artifacts.runtime import Session
from tests.support.cli import unspool
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


@pytest.fixture
def bundle(capsys: pytest.CaptureFixture[str], cache: BundleCache) -> Path:
    def make(path: Path) -> None:
        tokens = ("--bos", START, "--eos", END, "--pad", 0, "--max-length", 20)
        found = unspool(capsys, "compile", FOLDER / "g2p.onnx", *tokens, "--schedule", "loop", "-o", path)
        assert found.status == 0, found.stderr

    return cache.get("g2p", make)


def test_it_answers_as_its_source(bundle: Path) -> None:
    error = largest_error(bundle)
    print(f"g2p_en: largest error {error:.3g}")
    assert error < 1e-4


def test_every_word_is_said_as_the_package_says_it(bundle: Path, words: Mapping[str, list[int]]) -> None:
    """By stepping the whole graph; words of one length in one batch, each to its own end."""
    assert len(words) == 400
    found = dict[str, list[int]]()
    with Session.open(bundle, verify=False) as session:
        for _, group in groupby(sorted(words, key=len), len):
            batch = list(group)
            letters = [[LAST_LETTER + 1 + ord(letter) - ord("a") for letter in word] for word in batch]
            results = session.run({"graphemes": np.array([[*word, LAST_LETTER] for word in letters])})
            rows = zip(results["tokens"], results["lengths"], strict=True)
            found |= {word: tokens[:length].tolist() for word, (tokens, length) in zip(batch, rows, strict=True)}
    assert found == {word: [*phonemes, END] for word, phonemes in words.items()}
