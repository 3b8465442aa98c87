"""Element types that torch stores but has few kernels for, moved about as signed integers of their bits."""

from __future__ import annotations

from collections.abc import Callable

import torch

_CARRIERS = {
    torch.uint16: torch.int16,
    torch.uint32: torch.int32,
    torch.uint64: torch.int64,
    torch.float8_e4m3fn: torch.int8,
    torch.float8_e4m3fnuz: torch.int8,
    torch.float8_e5m2: torch.int8,
    torch.float8_e5m2fnuz: torch.int8,
    torch.float8_e8m0fnu: torch.int8,
}


def by_bits(function: Callable[..., torch.Tensor], *operands: torch.Tensor) -> torch.Tensor:
    """A function that moves elements, and at most adds zeros, on operands of one element type."""
    dtype = operands[0].dtype
    if dtype not in _CARRIERS:
        return function(*operands)
    return function(*(operand.view(_CARRIERS[dtype]) for operand in operands)).view(dtype)


def index_select(data: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    """torch.index_select on any element type; `index` is int32 or int64, of rank 1, without negatives."""
    return by_bits(lambda bits: bits.index_select(axis, index), data)
