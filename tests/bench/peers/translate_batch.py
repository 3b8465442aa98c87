"""CTranslate2: `translate_batch` of the converted model, greedy; `form` is the type that it computes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctranslate2
import numpy.typing as npt

from tests.bench.peers.contestants import Decode
from tests.bench.peers.models import PeerModel
from tests.bench.peers.vocabulary import token_texts


def opened(folder: Path, model: PeerModel, form: str) -> Decode:
    path = str(folder / "ctranslate2")
    translator = ctranslate2.Translator(path, device="cpu", compute_type=form, inter_threads=1, intra_threads=1)
    words = token_texts(model)
    tokens = {word: token for token, word in enumerate(words)}

    def decode(given: npt.NDArray[Any], count: int) -> list[list[int]]:
        results = translator.translate_batch(
            [[words[token] for token in row] for row in given.tolist()],
            beam_size=1,
            min_decoding_length=count,
            max_decoding_length=count,
        )
        return [[tokens[word] for word in result.hypotheses[0]] for result in results]

    return decode
