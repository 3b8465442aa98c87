"""How single ATen and `unspool::` operators become ONNX where torch.onnx has no translation, or a worse one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from onnxscript import opset21 as op

OPSET = 21
"""The opset that engines are written in; the operators above come from it."""

_aten = torch.ops.aten


def _global_average_pool(self: Any, output_size: Sequence[int]) -> Any:
    if any(size != 1 for size in output_size):
        raise ValueError(f"adaptive average pooling to {list(output_size)} has no ONNX operator")
    return op.GlobalAveragePool(self)


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {
        _aten.adaptive_avg_pool1d.default: _global_average_pool,
        _aten.adaptive_avg_pool2d.default: _global_average_pool,
        _aten.adaptive_avg_pool3d.default: _global_average_pool,
    }
)
