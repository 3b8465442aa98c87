"""`unspool::require` in ONNX, which has no operator that checks anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import onnx_ir as ir

from compiler.onnx_translations.opset import op
from passes import dialect

_NO_AXIS = 1 << 16
"""More axes than any tensor has."""


def _require(x: Any, holds: Any, what: str) -> Any:  # noqa: ARG001  # no ONNX error can say it
    """An axis added and removed; where the condition fails it is one that cannot be, which every runtime refuses.

    Runtimes do this without copying a byte. A Reshape to the tensor's own shape would do as well, but optimizers
    know what comes out of that and remove the check with it.
    """
    is_true: Any = op.Cast(holds, to=ir.DataType.BOOL.value)
    first: Any = op.Constant(value_ints=[0])
    axes: Any = op.Where(is_true, first, op.Constant(value_ints=[_NO_AXIS]))
    return op.Squeeze(op.Unsqueeze(x, axes), first)


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType({dialect.REQUIRE: _require})
