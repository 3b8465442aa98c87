"""PP-OCRv4: three networks that find lines of text in an image, turn them the right way up, and read them.

Made by PaddlePaddle and exported with paddle2onnx; the files come with a wheel that `make models` unpacks.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.models import PROJECT

PPOCR = PROJECT / "build" / "models" / "rapidocr_onnxruntime" / "models"
"""The folder of the files, which `make models` fills."""

_FILES = {
    "det": "ch_PP-OCRv4_det_infer.onnx",
    "rec": "ch_PP-OCRv4_rec_infer.onnx",
    "cls": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
}

HEIGHT = 48
"""Pixels of a line as `rec` and `cls` read it."""


def ppocr_file(name: str) -> Path:
    """The file of `det` (where is text), `cls` (is a line upside down) or `rec` (what does it say)."""
    return PPOCR / _FILES[name]
