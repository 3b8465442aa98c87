"""Adaptive pooling to one element, which ONNX calls global."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from compiler.onnx_translations.opset import op

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
