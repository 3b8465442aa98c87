"""uint16, uint32 and uint64 through signed types: torch stores them, but has few kernels for them."""

from __future__ import annotations

from collections.abc import Callable

import torch

_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64}
_SIGN_BIT = -(2**63)


def modular(function: Callable[..., torch.Tensor], *operands: torch.Tensor) -> torch.Tensor:
    """A function that is exact modulo 2^n (sum, product, power, shift) on operands of one element type."""
    dtype = operands[0].dtype
    signed = torch.int64 if dtype is torch.uint64 else _WIDER.get(dtype)
    if signed is None:
        return function(*operands)
    return function(*(operand.to(signed) for operand in operands)).to(dtype)


def by_value(function: Callable[..., torch.Tensor], *operands: torch.Tensor) -> torch.Tensor:
    """A function that needs the operands' values, all of one element type, which is not uint64."""
    dtype = operands[0].dtype
    if dtype not in _WIDER:
        return function(*operands)
    return function(*(operand.to(_WIDER[dtype]) for operand in operands)).to(dtype)


def quotient(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Quotient of integers, rounded toward zero."""
    if a.dtype is not torch.uint64:
        return by_value(lambda x, y: torch.div(x, y, rounding_mode="trunc"), a, b)
    # Half of a is not negative as int64: twice its quotient is right, or one too small, where b is not
    # negative either; where it is, b is more than half of all numbers and goes into a once or never.
    x, y = a.to(torch.int64), b.to(torch.int64)
    estimate = torch.div((x >> 1) & ~_SIGN_BIT, y, rounding_mode="trunc") << 1
    one_more = ordered((x - estimate * y).to(a.dtype)) >= ordered(b)
    large = ordered(a) >= ordered(b)
    return torch.where(y < 0, large.to(torch.int64), estimate + one_more.to(torch.int64)).to(a.dtype)


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
