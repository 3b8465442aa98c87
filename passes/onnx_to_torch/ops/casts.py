"""Cast, CastLike and BitCast: from one element type to another."""

from __future__ import annotations

from typing import TypeAlias

import onnx_ir as ir
import torch

from artifacts.dtype import DType
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.carried import bits_as, decoded, encoded
from passes.onnx_to_torch.known_math import elementwise
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.tensors import dtype_of
from passes.onnx_to_torch.values import KNOWN_DTYPES, Carried, Known
from passes.torch_dtypes import HAS_TORCH_DTYPE, logical_dtype, torch_dtype_of

Tensor: TypeAlias = "torch.Tensor | Carried"

_TIE_TO_NAN = {torch.float8_e4m3fn: 464.0}
"""Least upper bound of what rounds to the greatest finite value, where torch saturates by itself."""

_FLOAT8 = frozenset({torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz})


@op("Cast", 1)
def cast_to_named(call: Call, data: torch.Tensor) -> Tensor:
    return _cast(call, data, _target(call))


@op("Cast", 6, 9, 13, 19, 21, 23, 24, 25, 28, carried=(0,))
def cast(call: Call, data: Tensor) -> Tensor:
    return _cast(call, data, _target(call))


@op("CastLike", 15, 19, 21, 23, 24, 25, carried=(0, 1))
def cast_like(call: Call, data: Tensor, target: Tensor) -> Tensor:
    return _cast(call, data, _logical(target))


@known("Cast", 6, 9, 13, 19, 21, 23, 24, 25, 28)
def known_cast(call: Call, data: Known) -> Known | None:
    return _known_cast(data, _target(call))


@known("CastLike", 15, 19, 21, 23, 24, 25)
def known_cast_like(_: Call, data: Known, target: Known) -> Known | None:
    return _known_cast(data, logical_dtype(target.dtype))


@op("BitCast", 26, carried=(0,))
def bit_cast(call: Call, data: Tensor) -> Tensor:
    target = _target(call)
    if isinstance(data, Carried):
        return bits_as(data, target)  # of equal width: a carried type too
    return data.view(torch_dtype_of(target))


def _target(call: Call) -> DType:
    # The first version has the type by name.
    named = ir.DataType[call.attr_text("to").upper()] if call.since == 1 else call.attr_int("to")
    return dtype_of(named, call.label)


def _logical(data: Tensor) -> DType:
    return data.dtype if isinstance(data, Carried) else logical_dtype(data.dtype)


def _known_cast(data: Known, target: DType) -> Known | None:
    dtype = torch_dtype_of(target) if target in HAS_TORCH_DTYPE else None
    return elementwise(lambda element: element, dtype, data) if dtype in KNOWN_DTYPES else None


def _cast(call: Call, given: Tensor, target: DType) -> Tensor:
    if target is _logical(given):
        return given
    data = decoded(given)
    if target not in HAS_TORCH_DTYPE:
        return encoded(data, target)
    dtype = torch_dtype_of(target)
    # Up to Cast-18 there are no float8 types, hence neither attribute.
    saturate = bool(call.attr_int("saturate", 1))
    if dtype in _FLOAT8:
        return _to_float8(data.to(torch.float32), dtype, saturate)
    if dtype is torch.float8_e8m0fnu:
        return _to_float8_e8m0(data.to(torch.float32), saturate, call.attr_text("round_mode", "up"))
    return data.to(dtype)


def _to_float8(data: torch.Tensor, dtype: torch.dtype, saturate: bool) -> torch.Tensor:
    """Float32 to a float8 type with a mantissa, by the two tables of the operator's description."""
    if saturate:
        greatest = torch.finfo(dtype).max
        return data.clamp(-greatest, greatest).to(dtype)
    if dtype in _TIE_TO_NAN:
        data = torch.where(data.abs() > _TIE_TO_NAN[dtype], torch.nan, data)
    return data.to(dtype)


def _to_float8_e8m0(data: torch.Tensor, saturate: bool, mode: str) -> torch.Tensor:
    """Float32 to an exponent alone: code e is 2^(e-127), 255 is NaN. Signs have no meaning here.

    Above the least normal float32, 2^-126, that code is the exponent field, plus 1 where the fraction rounds
    up. 2^-127 is a float32 with exponent field 0, whose fraction counts from there.
    """
    bits = data.view(torch.int32) & 0x7FFFFFFF
    field, fraction = bits >> 23, bits & 0x7FFFFF
    least = torch.where(field == 0, 0x400000, 0)
    if mode == "up":
        code = field + (fraction > least).to(torch.int32)
    elif mode == "down":
        code = field
    else:
        code = field + (fraction - least >= torch.where(field == 0, 0x200000, 0x400000)).to(torch.int32)
    if saturate:
        code = torch.where(torch.isnan(data), 255, code.clamp(max=254))
    else:
        code = torch.where((field == 0) & (fraction < 0x400000), 255, code)
    return code.to(torch.uint8).view(torch.float8_e8m0fnu)
