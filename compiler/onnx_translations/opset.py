"""The operator set that engines are written in."""

from __future__ import annotations

from onnxscript import opset21 as op

OPSET = 21
"""The version; `op` has its operators."""

__all__ = ["OPSET", "op"]
