"""Text to token ids as BERT's uncased models take them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]

_WORDS = re.compile(r"\w+|[^\w\s]")
_CONTINUES = "##"


@dataclass(frozen=True)
class WordPiece:
    """Splits words into the longest pieces of a vocabulary, from the left (Wu et al., 2016)."""

    vocabulary: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> WordPiece:
        """The vocabulary of a `tokenizer.json`."""
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(document["model"]["vocab"])

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text in lower case and without accents; `[UNK]` for a word that has none."""
        plain = unicodedata.normalize("NFD", text.lower())
        bare = "".join(char for char in plain if unicodedata.category(char) != "Mn")
        return [piece for word in _WORDS.findall(bare) for piece in self._split(word)]

    def encoded(self, texts: Sequence[str]) -> dict[str, Ids]:
        """A batch: ids, mask and types int64 [texts, longest], padded on the right."""
        rows = [[self.vocabulary[piece] for piece in ("[CLS]", *self.pieces(text), "[SEP]")] for text in texts]
        ids = np.full((len(rows), max(map(len, rows))), self.vocabulary["[PAD]"], np.int64)
        mask = np.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}

    def _split(self, word: str) -> Sequence[str]:
        found, start = list[str](), 0
        while start < len(word):
            longest = next((piece for piece in self._prefixes(word, start) if piece in self.vocabulary), None)
            if longest is None:
                return ("[UNK]",)
            found.append(longest)
            start += len(longest.removeprefix(_CONTINUES) if start else longest)
        return found

    def _prefixes(self, word: str, start: int) -> Iterator[str]:
        return ((_CONTINUES if start else "") + word[start:end] for end in range(len(word), start, -1))
