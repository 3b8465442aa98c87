"""One real or integer tensor in, one out: signs, powers, exponentials, rounding, trigonometry."""

from __future__ import annotations

from collections.abc import Callable

import torch

from passes.onnx_to_torch import known_math
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.values import Known


def _register(name: str, function: Callable[[torch.Tensor], torch.Tensor], *since: int) -> None:
    def convert(call: Call, data: torch.Tensor) -> torch.Tensor:
        return function(data)

    op(name, *since)(convert)


_register("Neg", torch.neg, 1, 6, 13)
_register("Reciprocal", torch.reciprocal, 1, 6, 13)
_register("Sqrt", torch.sqrt, 1, 6, 13)
_register("Exp", torch.exp, 1, 6, 13)
_register("Log", torch.log, 1, 6, 13)
_register("Floor", torch.floor, 1, 6, 13)
_register("Ceil", torch.ceil, 1, 6, 13)
_register("Round", torch.round, 11, 22)  # both round half to even
_register("IsNaN", torch.isnan, 9, 13, 20)
_register("Sin", torch.sin, 7, 22)
_register("Cos", torch.cos, 7, 22)
_register("Tan", torch.tan, 7, 22)
_register("Asin", torch.asin, 7, 22)
_register("Acos", torch.acos, 7, 22)
_register("Atan", torch.atan, 7, 22)
_register("Sinh", torch.sinh, 9, 22)
_register("Cosh", torch.cosh, 9, 22)
_register("Asinh", torch.asinh, 9, 22)
_register("Acosh", torch.acosh, 9, 22)
_register("Atanh", torch.atanh, 9, 22)


@op("Abs", 1, 6, 13)
def absolute(call: Call, data: torch.Tensor) -> torch.Tensor:
    return torch.abs(data) if data.is_signed() else data


@op("Sign", 9, 13)
def sign(call: Call, data: torch.Tensor) -> torch.Tensor:
    """NaN has itself for a sign, as in numpy and in ONNX Runtime; in torch it is 0."""
    if not data.is_signed():
        return (data != 0).to(data.dtype)
    signs = torch.sign(data)
    return torch.where(torch.isnan(data), data, signs) if data.is_floating_point() else signs


@op("Erf", 9, 13)
def error_function(call: Call, data: torch.Tensor) -> torch.Tensor:
    """Of integers too, whose results are rounded toward zero."""
    return torch.erf(data) if data.is_floating_point() else torch.erf(data.double()).to(data.dtype)


@op("IsInf", 10, 20)
def is_infinite(call: Call, data: torch.Tensor) -> torch.Tensor:
    if data.dtype.itemsize == 1:  # float8 has no comparisons
        data = data.to(torch.float32)
    positive = bool(call.attr_int("detect_positive"))
    negative = bool(call.attr_int("detect_negative"))
    if positive and negative:
        return torch.isinf(data)
    if not positive and not negative:
        return torch.zeros_like(data, dtype=torch.bool)
    return data == (float("inf") if positive else float("-inf"))


@known("Neg", 6, 13)
def known_neg(call: Call, data: Known) -> Known | None:
    return known_math.elementwise(lambda x: -x, data.dtype, data)


@known("Abs", 6, 13)
def known_absolute(call: Call, data: Known) -> Known | None:
    return known_math.elementwise(known_math.absolute, data.dtype, data)
