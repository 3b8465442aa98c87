"""Add, Sub, Mul, Div, Mod and Pow: two tensors in, one out, with broadcasting."""

from __future__ import annotations

import torch

from passes.onnx_to_torch import known_math
from passes.onnx_to_torch.broadcasting import aligned
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.unsigned import by_value, modular, quotient
from passes.onnx_to_torch.values import Known


@op("Add", 1, 6, 7, 13, 14)
def add(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return modular(torch.add, a, aligned(call, a, b))


@op("Sub", 1, 6, 7, 13, 14)
def sub(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return modular(torch.sub, a, aligned(call, a, b))


@op("Mul", 1, 6, 7, 13, 14)
def mul(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return modular(torch.mul, a, aligned(call, a, b))


@op("Div", 1, 6, 7, 13, 14)
def div(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    b = aligned(call, a, b)
    return torch.div(a, b) if a.is_floating_point() else quotient(a, b)


@op("Mod", 10, 13, 28)
def mod(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Remainder with the sign of a if `fmod` is set, else with the sign of b."""
    if a.dtype is torch.uint64:
        return modular(lambda x, y, z: x - y * z, a, b, quotient(a, b))
    if call.attr_int("fmod"):
        return by_value(torch.fmod, a, b)
    remainder = by_value(torch.remainder, a, b)
    if a.is_floating_point():
        # A zero has the sign of b as well; torch gives it that of a.
        return torch.where(remainder == 0, torch.copysign(remainder, b), remainder)
    return remainder


@op("Pow", 1, 7, 12, 13, 15)
def power(call: Call, base: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """The result has the base's element type; from version 12 on the exponent may have another."""
    exponent = aligned(call, base, exponent)
    if base.dtype == exponent.dtype:
        return modular(torch.pow, base, exponent)
    if base.is_floating_point():
        common = torch.float64 if torch.float64 in (base.dtype, exponent.dtype) else torch.float32
    else:
        common = torch.float64 if exponent.is_floating_point() else torch.int64
    return torch.pow(base.to(common), exponent.to(common)).to(base.dtype)


@known("Add", 7, 13, 14)
def known_add(call: Call, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(lambda x, y: x + y, a.dtype, a, b)


@known("Sub", 7, 13, 14)
def known_sub(call: Call, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(lambda x, y: x - y, a.dtype, a, b)


@known("Mul", 7, 13, 14)
def known_mul(call: Call, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(lambda x, y: x * y, a.dtype, a, b)


@known("Div", 7, 13, 14)
def known_div(call: Call, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(known_math.truncated_division, a.dtype, a, b)


@known("Mod", 10, 13, 28)
def known_mod(call: Call, a: Known, b: Known) -> Known | None:
    remainder = known_math.truncated_modulo if call.attr_int("fmod") else known_math.floored_modulo
    return known_math.elementwise(remainder, a.dtype, a, b)


@known("Pow", 12, 13, 15)
def known_power(call: Call, base: Known, exponent: Known) -> Known | None:
    return known_math.elementwise(_power, base.dtype, base, exponent)


def _power(base: known_math.Int, exponent: known_math.Int) -> known_math.Int | None:
    # A huge exponent would make Python compute all of a number that wraps around.
    if not isinstance(exponent, int) or not 0 <= exponent <= 64:
        return None
    return known_math.product([base] * exponent)
