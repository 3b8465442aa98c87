"""How single ATen and `unspool::` operators become ONNX where torch.onnx has no translation, or a worse one.

A family of operators is one file of this package with a table of its own; the tables are put together here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from compiler.onnx_translations import indexing, pooling, recurrent
from compiler.onnx_translations.opset import OPSET

__all__ = ["OPSET", "TRANSLATIONS"]

TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {**indexing.TRANSLATIONS, **pooling.TRANSLATIONS, **recurrent.TRANSLATIONS}
)
