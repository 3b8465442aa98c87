"""A stable sort is TopK over the whole axis: ONNX gives equal elements in the order of their indices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch

from compiler.onnx_translations.opset import op


def _sort(self: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:  # noqa: ARG001
    if not len(self.shape):
        return op.Identity(self), op.Constant(value_int=0)
    axis: Any = op.Constant(value_ints=[dim])
    size: Any = op.Gather(op.Shape(self), axis)
    return op.TopK(self, size, axis=dim, largest=int(descending), sorted=1)


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType({torch.ops.aten.sort.stable: _sort})
