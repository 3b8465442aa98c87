"""And, Or, Xor and Not on booleans; BitShift and the Bitwise operators on integers."""

from __future__ import annotations

import torch

from passes.onnx_to_torch import known_math
from passes.onnx_to_torch.broadcasting import aligned
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.unsigned import modular
from passes.onnx_to_torch.values import Known


@op("And", 1, 7)
def logical_and(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.logical_and(a, aligned(call, a, b))


@op("Or", 1, 7)
def logical_or(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.logical_or(a, aligned(call, a, b))


@op("Xor", 1, 7)
def logical_xor(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.logical_xor(a, aligned(call, a, b))


@op("Not", 1)
def logical_not(call: Call, a: torch.Tensor) -> torch.Tensor:
    return torch.logical_not(a)


@op("BitwiseAnd", 18)
def bitwise_and(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return modular(torch.bitwise_and, a, b)


@op("BitwiseOr", 18)
def bitwise_or(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return modular(torch.bitwise_or, a, b)


@op("BitwiseXor", 18)
def bitwise_xor(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return modular(torch.bitwise_xor, a, b)


@op("BitwiseNot", 18)
def bitwise_not(call: Call, a: torch.Tensor) -> torch.Tensor:
    return modular(torch.bitwise_not, a)


@op("BitShift", 11, 28)
def bit_shift(call: Call, a: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Unsigned to 11; from 28 also signed, with an arithmetic right shift.

    Amounts outside 0..bits-1 shift everything out, in ONNX as in torch.
    """
    if call.attr_text("direction") == "LEFT":
        return modular(torch.bitwise_left_shift, a, amount)
    if a.dtype is torch.uint8:
        # torch.onnx would shift by way of int8, and give that.
        return torch.bitwise_right_shift(a.to(torch.int32), amount.to(torch.int32)).to(a.dtype)
    if a.dtype is not torch.uint64:
        return modular(torch.bitwise_right_shift, a, amount)
    # Through int64 the sign would spread: shift it out by one first, then by the rest.
    signed, by = a.to(torch.int64), amount.to(torch.int64)
    halved = torch.bitwise_right_shift(signed, 1) & (2**63 - 1)
    return torch.where(by == 0, signed, torch.bitwise_right_shift(halved, by - 1)).to(a.dtype)


@known("And", 7)
def known_and(call: Call, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(known_math.logical_and, torch.bool, a, b)


@known("Or", 7)
def known_or(call: Call, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(known_math.logical_or, torch.bool, a, b)


@known("Xor", 7)
def known_xor(call: Call, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(known_math.logical_xor, torch.bool, a, b)


@known("Not", 1)
def known_not(call: Call, a: Known) -> Known | None:
    return known_math.elementwise(known_math.logical_not, torch.bool, a)
