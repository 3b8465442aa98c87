"""How single ATen and `unspool::` operators become ONNX where torch.onnx has no translation, or a worse one.

A family of operators is one module of this package with a table `TRANSLATIONS`; being here is enough to be used.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from compiler.onnx_translations.opset import OPSET

__all__ = ["OPSET", "TRANSLATIONS"]

_NOT_FAMILIES = {"opset"}

TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {
        operator: translation
        for module in pkgutil.iter_modules(__path__)
        if module.name not in _NOT_FAMILIES
        for operator, translation in importlib.import_module(f"{__name__}.{module.name}").TRANSLATIONS.items()
    }
)
