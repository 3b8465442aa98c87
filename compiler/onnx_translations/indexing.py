"""Indexing by one tensor is ONNX's Gather, negative indices included; torch.onnx makes a GatherND of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import onnx_ir as ir
import torch
from onnxscript.function_libs.torch_lib.ops.core import aten_index

from compiler.onnx_translations.opset import op


def _index(self: Any, indices: Sequence[Any]) -> Any:
    given = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if len(given) == 1 and given[0][1].dtype != ir.DataType.BOOL:
        axis, index = given[0]
        return op.Gather(self, index, axis=axis)
    return aten_index(self, indices)


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType({torch.ops.aten.index.Tensor: _index})
