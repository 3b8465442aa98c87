"""Conditions that a converted graph takes for granted and that an engine has to check."""

from __future__ import annotations

import torch

from passes import dialect
from passes.onnx_to_torch.known_math import Bool, where
from passes.onnx_to_torch.sizes import as_int


def require(data: torch.Tensor, holds: Bool, what: str) -> torch.Tensor:
    """The tensor, as long as the condition holds; `what` names it in the error.

    Adds nothing if it always does. Raises ValueError if it never does.
    """
    if isinstance(holds, bool):
        if not holds:
            raise ValueError(f"{what}: does not hold")
        return data
    return dialect.REQUIRE(data, as_int(where(holds, 1, 0)), what)
