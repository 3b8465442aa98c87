"""uint16, uint32 and uint64 through signed types: torch stores them, but has few kernels for them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from passes.onnx_to_torch.call import Call

_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64}
_SIGN_BIT = -(2**63)


def modular(function: Callable[..., torch.Tensor], *operands: torch.Tensor) -> torch.Tensor:
    """A function that is exact modulo 2^n (sum, product, left shift) on operands of one element type."""
    dtype = operands[0].dtype
    signed = torch.int64 if dtype is torch.uint64 else _WIDER.get(dtype)
    if signed is None:
        return function(*operands)
    return function(*(operand.to(signed) for operand in operands)).to(dtype)


def by_value(call: Call, function: Callable[..., torch.Tensor], *operands: torch.Tensor) -> torch.Tensor:
    """A function that needs the operands' values (quotient, power), all of one element type.

    Raises UnsupportedError for uint64, whose values no signed type holds.
    """
    dtype = operands[0].dtype
    if dtype is torch.uint64:
        call.unsupported("element type uint64", "torch computes this with at most 63 bits: cast to int64 before")
    if dtype not in _WIDER:
        return function(*operands)
    return function(*(operand.to(_WIDER[dtype]) for operand in operands)).to(dtype)


def ordered(operand: torch.Tensor) -> torch.Tensor:
    """The operand in a type whose elements torch can compare, in the same order."""
    if operand.dtype is torch.uint64:
        return operand.to(torch.int64) ^ _SIGN_BIT
    return operand.to(_WIDER.get(operand.dtype, operand.dtype))


def from_ordered(operand: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Back from `ordered` to the element type that the elements had."""
    return (operand ^ _SIGN_BIT if dtype is torch.uint64 else operand).to(dtype)


def by_order(function: Callable[..., torch.Tensor], *operands: torch.Tensor) -> torch.Tensor:
    """A function that picks one of the operands' elements by their order (maximum, minimum)."""
    return from_ordered(function(*map(ordered, operands)), operands[0].dtype)
