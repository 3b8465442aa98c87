"""`unspool::quantize` and its inverses as QuantizeLinear and DequantizeLinear.

Around a product they are what ONNX Runtime makes one product of bytes of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.onnx_translations import opset
from passes import dialect

op: Any = opset.op


def _quantize(x: Any, scale: float, zero_point: int, codes: str = "uint8") -> Any:
    return op.QuantizeLinear(x, op.Constant(value_float=scale), _zero(zero_point, _TYPES[codes]))


def _dequantize(codes: Any, scale: float, zero_point: int) -> Any:
    return op.DequantizeLinear(codes, op.Constant(value_float=scale), _zero(zero_point, codes.dtype))


def _dequantize_channels(codes: Any, scales: Any, axis: int) -> Any:
    # Without zeros of its own ONNX Runtime does not make a QGemm of it.
    zeros = np.zeros(int(scales.shape[0]), codes.dtype.numpy())
    return op.DequantizeLinear(codes, scales, op.Constant(value=ir.tensor(zeros)), axis=axis)


def _zero(zero_point: int, dtype: ir.DataType) -> Any:
    return op.Constant(value=ir.tensor(np.array(zero_point, dtype.numpy())))


_TYPES: Mapping[str, ir.DataType] = MappingProxyType(
    {"uint8": ir.DataType.UINT8, "int8": ir.DataType.INT8, "float8_e4m3fn": ir.DataType.FLOAT8E4M3FN}
)


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {
        dialect.QUANTIZE: _quantize,
        dialect.DEQUANTIZE: _dequantize,
        dialect.DEQUANTIZE_CHANNELS: _dequantize_channels,
    }
)
