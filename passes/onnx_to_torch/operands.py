"""Operands that say how many, though their element type is any numeric one: Tile-1's axis, OneHot's depth."""

from __future__ import annotations

import numpy as np
import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, integers
from passes.onnx_to_torch.values import Known, to_known


def whole_numbers(call: Call, position: int, given: torch.Tensor | Known) -> list[Int]:
    """The elements of the input at a position, as integers; of a constant they are plain numbers."""
    static = call.static(position)
    if static is not None:
        return integers(Known.from_numpy(static.reshape(-1).astype(np.int64)))
    return integers(given if isinstance(given, Known) else to_known(given.to(torch.int64)))
