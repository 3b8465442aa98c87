"""`unspool::require` in ONNX, which has no operator that checks anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import onnx_ir as ir

from compiler.onnx_translations.opset import op
from passes import dialect


def _require(x: Any, holds: Any, what: str) -> Any:  # noqa: ARG001  # no ONNX error can say it
    """A Reshape to the tensor's own shape, or to sizes of -2, which every runtime refuses. No bytes are copied."""
    is_true = op.Cast(holds, to=ir.DataType.BOOL.value)
    refused = op.Constant(value_ints=[-2])
    if x.shape is not None and not len(x.shape):  # a shape without axes would have no room for the -2
        line = op.Reshape(x, op.Where(is_true, op.Constant(value_ints=[1]), refused))
        return op.Squeeze(line, op.Constant(value_ints=[0]))
    return op.Reshape(x, op.Where(is_true, op.Shape(x), refused), allowzero=1)


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType({dialect.REQUIRE: _require})
