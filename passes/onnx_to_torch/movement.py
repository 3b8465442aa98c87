"""Element types that torch stores but has few kernels for, moved about as types that hold all their values."""

from __future__ import annotations

from collections.abc import Callable

import torch

# Conversions and not views of the bits, which ONNX cannot say before operator set 26. int64 holds the values
# of uint64 modulo 2^64, which is enough to get them back.
_CARRIERS = {
    torch.uint16: torch.int32,
    torch.uint32: torch.int64,
    torch.uint64: torch.int64,
    torch.float8_e4m3fn: torch.float16,
    torch.float8_e4m3fnuz: torch.float16,
    torch.float8_e5m2: torch.float16,
    torch.float8_e5m2fnuz: torch.float16,
    torch.float8_e8m0fnu: torch.float32,
}


def moved(function: Callable[..., torch.Tensor], *operands: torch.Tensor) -> torch.Tensor:
    """A function that moves elements, and at most adds zeros, on operands of one element type."""
    dtype = operands[0].dtype
    if dtype not in _CARRIERS:
        return function(*operands)
    return function(*(operand.to(_CARRIERS[dtype]) for operand in operands)).to(dtype)


def index_select(data: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    """torch.index_select on any element type; `index` is int32 or int64, of rank 1, without negatives."""
    return moved(lambda carried: carried.index_select(axis, index), data)
