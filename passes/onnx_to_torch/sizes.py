"""Sizes as torch's annotations want them."""

from __future__ import annotations

from typing import cast

from passes.onnx_to_torch.values import Scalar


def as_int(size: Scalar) -> int:
    """The same object, a symbol kept. torch takes symbols for sizes where its annotations say int."""
    return cast("int", size)
