"""A tensor's one element as a size: nothing to do, where torch.onnx takes the tensor apart and puts it together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import onnx_ir as ir
import torch

from compiler.onnx_translations.opset import op


def _element(self: Any) -> Any:
    element = op.Identity(self) if self.shape is not None and not self.shape.dims else op.Squeeze(self)
    narrow = self.dtype.is_integer() and self.dtype != ir.DataType.INT64
    return op.Cast(element, to=ir.DataType.INT64.value) if narrow else element


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {torch.ops.aten.item.default: _element, torch.ops.aten._local_scalar_dense.default: _element}
)
