"""Values of the element types that torch has not, from their carriers and back: integers of 2 and 4 bits, float4.

float4_e2m1 holds 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives: codes 0 to 7, and a sign bit of 8 (the OCP
microscaling formats specification, 5.3.3).
"""

from __future__ import annotations

import torch

from artifacts.dtype import DType
from passes.onnx_to_torch.values import Carried
from passes.torch_dtypes import torch_dtype_of

_SIGN = 8
_ABOVE = ((0.25, False), (0.75, True), (1.25, False), (1.75, True), (2.5, False), (3.5, True), (5.0, False))
"""For float4 codes 1 to 7 the magnitude from which on it is the nearest, and whether that magnitude, a tie, is in."""


def limits(dtype: DType) -> tuple[int, int]:
    """The least and the greatest integer of a type of any width."""
    if dtype.value.startswith("uint"):
        return 0, (1 << dtype.bits) - 1
    return -(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1


def decoded(value: torch.Tensor | Carried) -> torch.Tensor:
    """The values in a type of torch's that holds them all: float32, int8 or uint8; a tensor as it is."""
    if not isinstance(value, Carried):
        return value
    if value.dtype.is_integer:
        return value.tensor
    code = value.tensor.to(torch.int32)
    exponent, half = (code >> 1) & 3, (code & 1).to(torch.float32)
    magnitude = torch.where(exponent == 0, half * 0.5, (half + 2) * 0.25 * (1 << exponent))
    return torch.where(code >= _SIGN, -magnitude, magnitude)


def encoded(data: torch.Tensor, dtype: DType) -> Carried:
    """Values as a carried type, as Cast converts.

    Integers keep their low bits, after the fraction went. A float4 is the nearest one, of two the even one, and
    the greatest for what is beyond; NaN becomes -0, as in ml_dtypes.
    """
    return Carried(_float4(data) if dtype.is_float else _low_bits(data, dtype), dtype)


def _low_bits(data: torch.Tensor, dtype: DType) -> torch.Tensor:
    lowest, _ = limits(dtype)
    whole = data.to(torch.int64)
    # Modulo 2^bits, counted from the lowest value.
    return (((whole - lowest) & ((1 << dtype.bits) - 1)) + lowest).to(torch_dtype_of(DType.of(dtype.numpy)))


def _float4(data: torch.Tensor) -> torch.Tensor:
    wide = data if data.dtype is torch.float64 else data.to(torch.float32)
    magnitude = wide.abs()
    code = torch.zeros_like(magnitude, dtype=torch.uint8)
    for bound, included in _ABOVE:
        code = code + (magnitude >= bound if included else magnitude > bound).to(torch.uint8)
    negative = torch.signbit(wide) | torch.isnan(wide)
    return code + negative.to(torch.uint8) * _SIGN


def bits_as(value: Carried, dtype: DType) -> Carried:
    """The same bits as another carried type of the same width."""
    code = value.tensor.to(torch.int64) & ((1 << dtype.bits) - 1)
    return Carried(code.to(torch.uint8) if dtype.is_float else _low_bits(code, dtype), dtype)
