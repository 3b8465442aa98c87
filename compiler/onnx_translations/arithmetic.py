"""Arithmetic with a size for a scalar, where torch.onnx takes numbers only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import onnx_ir as ir
import torch
from onnxscript.function_libs.torch_lib.ops.core import aten_remainder, aten_remainder_scalar

from compiler.onnx_translations.opset import op


def _remainder(self: Any, other: Any) -> Any:
    if isinstance(other, ir.Value):
        size: Any = other
        return aten_remainder(self, op.Cast(size, to=self.dtype.value))
    return aten_remainder_scalar(self, other)


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {torch.ops.aten.remainder.Scalar: _remainder}
)
