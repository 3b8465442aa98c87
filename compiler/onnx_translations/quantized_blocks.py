"""Products and look-ups in quantised rows as ONNX Runtime runs them.

Its MatMulNBits takes codes and scales as they are stored. With an operand that is rounded it multiplies integers; with
one that is not it has a fast kernel for 4 bits only. For 8 bits the weights are widened by operators on constants,
which ONNX Runtime computes once, when it opens the engine: the file is small, and the speed that of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import onnx_ir as ir
from onnxscript import evaluator

from compiler.onnx_translations import opset
from passes import dialect
from passes.quantized_blocks import zero_code

op: Any = opset.op

_IN_INTEGERS, _IN_FLOAT32 = 4, 1
"""MatMulNBits' accuracy_level: the narrowest type that it may compute in."""


def _quantized_linear(x: Any, codes: Any, scales: Any, bias: Any, bits: int, rounds: bool) -> Any:
    rows, blocks, width = (int(size) for size in codes.shape)
    size = blocks * width * 8 // bits
    if bits == 8 and not rounds:
        wide = op.Sub(op.Cast(codes, to=ir.DataType.FLOAT), op.Constant(value_float=float(zero_code(bits))))
        matrix = op.Mul(wide, op.Unsqueeze(scales, op.Constant(value_ints=[2])))
        turned = op.Transpose(op.Reshape(matrix, op.Constant(value_ints=[rows, size])), perm=[1, 0])
        product = op.MatMul(x, turned)
        return product if bias is None else op.Add(product, bias)
    attributes = {
        "K": size,
        "N": rows,
        "bits": bits,
        "block_size": size // blocks,
        "accuracy_level": _IN_INTEGERS if rounds else _IN_FLOAT32,
    }
    return _contrib("MatMulNBits", [x, codes, scales, None, None, bias], attributes)


def _quantized_embedding(codes: Any, scales: Any, indices: Any, bits: int) -> Any:
    rows, blocks, width = (int(size) for size in codes.shape)
    table = op.Reshape(codes, op.Constant(value_ints=[rows, blocks * width]))
    attributes = {"bits": bits, "block_size": width * 8 // bits, "gather_axis": 0, "quantize_axis": 1}
    return _contrib("GatherBlockQuantized", [table, indices, scales], attributes)


def _contrib(kind: str, inputs: list[Any], attributes: dict[str, Any]) -> ir.Value:
    node = ir.node(kind, inputs, attributes, domain="com.microsoft")
    recorder: Any = evaluator.default()
    recorder.nodes.append(node)
    return node.outputs[0]


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {dialect.QUANTIZED_LINEAR: _quantized_linear, dialect.QUANTIZED_EMBEDDING: _quantized_embedding}
)
