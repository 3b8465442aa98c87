"""Floating-point types by how much they hold."""

from __future__ import annotations

import torch

_WIDTH = {torch.float16: 1, torch.bfloat16: 1, torch.float32: 2, torch.float64: 3}


def widest(*dtypes: torch.dtype) -> torch.dtype:
    """The smallest floating-point type that holds all of them: float32 for float16 with bfloat16.

    Not torch.promote_types: export records a call of that as an operator of the graph.
    """
    first = max(dtypes, key=_WIDTH.__getitem__)
    same_width = {dtype for dtype in dtypes if _WIDTH[dtype] == _WIDTH[first]}
    return first if len(same_width) == 1 else torch.float32


def computed(dtype: torch.dtype) -> torch.dtype:
    """The type to compute with where half precision is too coarse for what lies between (positions, statistics)."""
    return torch.float32 if _WIDTH.get(dtype) == 1 else dtype
