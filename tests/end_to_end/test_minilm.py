"""MiniLM with its trained weights: compiled, it still knows what sentences are about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from artifacts.runtime import Session
from tests.support.bert import MINILM, bert_file, minilm
from tests.support.models import Array, BundleCache, largest_error
from tests.support.wordpiece import WordPiece

pytestmark = pytest.mark.slow

CATS = ("A cat sleeps on the warm windowsill.", "The kitten is napping in the sun.")
CARS = ("The car needs new brakes before the trip.", "A mechanic repaired the engine of my truck.")


@pytest.fixture(scope="module")
def bundle(cache: BundleCache) -> Path:
    return cache.compiled("minilm", bert_file("minilm", minilm))


@pytest.fixture(scope="module")
def tokenizer() -> WordPiece:
    return WordPiece.read(MINILM / "tokenizer.json")


def embeddings(bundle: Path, tokenizer: WordPiece, texts: tuple[str, ...]) -> Array:
    """The mean over the tokens of each text, of length 1: how the model was trained to be used."""
    inputs = tokenizer.encoded(texts)
    with Session.open(bundle, verify=False) as session:
        hidden = session.run(inputs)["last_hidden_state"]
    means = (hidden * inputs["attention_mask"][..., None]).sum(1)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


def test_it_answers_as_its_source(bundle: Path) -> None:
    error = largest_error(bundle)
    print(f"MiniLM: largest error {error:.3g}")
    assert error < 1e-3


def test_it_answers_as_pytorch_did_before_any_export(bundle: Path, tokenizer: WordPiece) -> None:
    inputs = tokenizer.encoded(CATS + CARS)
    with torch.no_grad():
        expected = minilm().eval()(*map(torch.from_numpy, inputs.values())).numpy()
    with Session.open(bundle, verify=False) as session:
        found = session.run(inputs)["last_hidden_state"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_sentences_about_one_thing_are_closer_than_about_two(bundle: Path, tokenizer: WordPiece) -> None:
    vectors = embeddings(bundle, tokenizer, CATS + CARS)
    near = vectors @ vectors.T
    across = near[:2, 2:].max()
    assert near[0, 1] > across + 0.2
    assert near[2, 3] > across + 0.1


def test_padding_does_not_change_a_sentence(bundle: Path, tokenizer: WordPiece) -> None:
    alone = embeddings(bundle, tokenizer, CATS[:1])
    padded = embeddings(bundle, tokenizer, (CATS[0], " ".join(CARS)))
    np.testing.assert_allclose(padded[:1], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Kittens, naïvely!", ["kitten", "##s", ",", "naive", "##ly", "!"]),
        ("\N{SNOWMAN}", ["[UNK]"]),
        ("", []),
    ],
)
def test_words_are_split_as_the_model_was_trained(tokenizer: WordPiece, text: str, pieces: list[str]) -> None:
    assert tokenizer.pieces(text) == pieces
