"""PP-OCRv4: three networks that find lines of text in an image, turn them the right way up, and read them.

Made by PaddlePaddle and exported with paddle2onnx; the files come with a wheel that `make models` unpacks. They were
trained on photographs and prints, and read letters drawn with a few bits each as well.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view

from tests.support.models import PROJECT, Array

PPOCR = PROJECT / "build" / "models" / "rapidocr_onnxruntime" / "models"
"""The folder of the files, which `make models` fills."""

_FILES = {
    "det": "ch_PP-OCRv4_det_infer.onnx",
    "rec": "ch_PP-OCRv4_rec_infer.onnx",
    "cls": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
}

HEIGHT = 48
"""Pixels of a line as `rec` and `cls` take it."""

LEFT = 12
"""Pixels of paper before the first letter of a rendered line."""

SCALE = 4
"""Pixels of a bit of a letter."""

_LETTERS = {
    "D": "####. #...# #...# #...# #...# #...# ####.",
    "E": "##### #.... #.... ####. #.... #.... #####",
    "O": ".###. #...# #...# #...# #...# #...# .###.",
    "P": "####. #...# #...# ####. #.... #.... #....",
    "R": "####. #...# #...# ####. #.#.. #..#. #...#",
    "S": ".#### #.... #.... .###. ....# ....# ####.",
    "T": "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..",
}

WORDS = ("RESTED", "STEEP", "PRESTO")
"""Words that the letters above suffice for."""


def ppocr_file(name: str) -> Path:
    """The file of `det` (where is text), `cls` (is a line upside down) or `rec` (what does it say)."""
    return PPOCR / _FILES[name]


def rendered(word: str, width: int = 320) -> Array:
    """A line of black letters on white paper, float32 [1, 3, 48, width] from -1 (ink) to 1 (paper)."""
    bits = [np.array([[bit == "#" for bit in f"{row}."] for row in _LETTERS[letter].split()]) for letter in word]
    ink = np.kron(np.concatenate(bits, axis=1), np.ones((SCALE, SCALE)))
    soft = sliding_window_view(np.pad(ink, 2), (3, 3)).mean((2, 3))  # a scanner's edges
    page = np.zeros((HEIGHT, width))
    top = (HEIGHT - soft.shape[0]) // 2
    page[top : top + soft.shape[0], LEFT : LEFT + soft.shape[1]] = soft
    return np.repeat((1 - 2 * page)[None, None], 3, axis=1).astype(np.float32)


def alphabet() -> list[str]:
    """What the classes of `rec` stand for: nothing, the characters in the file's metadata, a space."""
    model = onnx.load(ppocr_file("rec"), load_external_data=False)
    (characters,) = (entry.value for entry in model.metadata_props if entry.key == "character")
    return ["", *characters.removesuffix("\n").split("\n"), " "]


def text_of(scores: Array, characters: list[str]) -> str:
    """What `rec` read: scores float32 [t, classes], the best class of each column, repetitions dropped (CTC)."""
    return "".join(characters[best] for best, _ in groupby(scores.argmax(-1).tolist()))
