"""Shifts of unsigned integers are ONNX's BitShift; torch.onnx gives back a signed type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import onnx_ir as ir
import torch
from onnxscript.function_libs.torch_lib.ops.core import aten_bitwise_left_shift, aten_bitwise_right_shift

from compiler.onnx_translations.opset import op

_aten = torch.ops.aten
_UNSIGNED = frozenset({ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64})


def _left(self: Any, other: Any) -> Any:
    return _shifted(self, other, "LEFT") if self.dtype in _UNSIGNED else aten_bitwise_left_shift(self, other)


def _right(self: Any, other: Any) -> Any:
    return _shifted(self, other, "RIGHT") if self.dtype in _UNSIGNED else aten_bitwise_right_shift(self, other)


def _shifted(self: Any, other: Any, direction: str) -> Any:
    return op.BitShift(self, op.Cast(other, to=self.dtype.value), direction=direction)


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {
        _aten.bitwise_left_shift.Tensor: _left,
        _aten.__lshift__.Tensor: _left,
        _aten.bitwise_right_shift.Tensor: _right,
        _aten.__rshift__.Tensor: _right,
    }
)
