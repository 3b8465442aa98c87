"""Element types and constant tensors of ONNX in torch."""

from __future__ import annotations

import onnx_ir as ir
import torch

from artifacts.dtype import DType
from artifacts.errors import UnsupportedError
from passes.onnx_to_torch.values import Carried
from passes.torch_dtypes import HAS_TORCH_DTYPE, from_numpy, torch_dtype_of

_NAMES: dict[ir.DataType, DType] = {
    ir.DataType.FLOAT: DType.FLOAT32,
    ir.DataType.DOUBLE: DType.FLOAT64,
    ir.DataType.FLOAT8E4M3FN: DType.FLOAT8_E4M3FN,
    ir.DataType.FLOAT8E4M3FNUZ: DType.FLOAT8_E4M3FNUZ,
    ir.DataType.FLOAT8E5M2: DType.FLOAT8_E5M2,
    ir.DataType.FLOAT8E5M2FNUZ: DType.FLOAT8_E5M2FNUZ,
    ir.DataType.FLOAT8E8M0: DType.FLOAT8_E8M0FNU,
    ir.DataType.FLOAT4E2M1: DType.FLOAT4_E2M1FN,
}
_NAMES |= {kind: DType(kind.name.lower()) for kind in ir.DataType if kind.name.lower() in set(DType)}


def dtype_of(onnx_type: ir.DataType | int, subject: str) -> DType:
    """Our name for an ONNX element type. Raises UnsupportedError for strings and for types that we have not."""
    kind = ir.DataType(onnx_type)
    if kind not in _NAMES:
        hint = "strings stay outside the model: tokenise before it" if kind == ir.DataType.STRING else ""
        raise UnsupportedError.of("convert", subject, f"element type {kind.name}", hint)
    return _NAMES[kind]


def torch_dtype(onnx_type: ir.DataType | int, subject: str) -> torch.dtype:
    """The torch dtype of an ONNX element type. Raises UnsupportedError where torch has none."""
    logical = dtype_of(onnx_type, subject)
    if logical not in HAS_TORCH_DTYPE:
        raise UnsupportedError.of("convert", subject, f"torch has no element type {logical}")
    return torch_dtype_of(logical)


def to_torch(tensor: ir.TensorProtocol) -> torch.Tensor | Carried:
    """A constant of the graph as a torch tensor that shares its memory (a mapped file stays mapped)."""
    logical = dtype_of(tensor.dtype, tensor.name or "a constant")
    return typed(from_numpy(tensor.numpy(), logical), logical)


def typed(tensor: torch.Tensor, logical: DType) -> torch.Tensor | Carried:
    """A tensor of a logical type, as `from_numpy` makes it, as a value of that type."""
    return tensor if logical in HAS_TORCH_DTYPE else Carried(tensor, logical)
