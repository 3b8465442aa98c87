"""Element types that torch stores but has few kernels for, moved about as signed integers of their bits."""

from __future__ import annotations

from collections.abc import Callable

import torch

_CARRIERS = {
    torch.bool: torch.int8,
    torch.uint16: torch.int16,
    torch.uint32: torch.int32,
    torch.uint64: torch.int64,
    torch.float8_e4m3fn: torch.int8,
    torch.float8_e4m3fnuz: torch.int8,
    torch.float8_e5m2: torch.int8,
    torch.float8_e5m2fnuz: torch.int8,
    torch.float8_e8m0fnu: torch.int8,
}


def as_bits(operand: torch.Tensor) -> torch.Tensor:
    """The operand, or the integers that its elements' bits spell. Zero stays zero (minus zero does not)."""
    return operand.view(_CARRIERS.get(operand.dtype, operand.dtype))


def by_bits(function: Callable[..., torch.Tensor], *operands: torch.Tensor) -> torch.Tensor:
    """A function that moves elements, and at most adds zeros, on operands of one element type."""
    return function(*map(as_bits, operands)).view(operands[0].dtype)
