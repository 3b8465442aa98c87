"""Conversions to float8, which overflow in torch; ONNX's Cast stops at the greatest finite value unless told not to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import onnx_ir as ir
import torch
from onnxscript.function_libs.torch_lib.ops.core import aten__to_copy

from compiler.onnx_translations.opset import op

_FLOAT8 = frozenset(
    {
        ir.DataType.FLOAT8E4M3FN,
        ir.DataType.FLOAT8E4M3FNUZ,
        ir.DataType.FLOAT8E5M2,
        ir.DataType.FLOAT8E5M2FNUZ,
    }
)


def _to_copy(self: Any, dtype: int = -1, **_: object) -> Any:
    return op.Cast(self, to=dtype, saturate=0) if dtype in _FLOAT8 else aten__to_copy(self, dtype=dtype)


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {torch.ops.aten._to_copy.default: _to_copy}
)
