"""Local functions with 8-bit values in them, written out where they are called.

The parser of TensorRT-RTX 1.7 gives the layers of QuantizeLinear and DequantizeLinear the names of their nodes, or of
their results where nodes have none, and refuses the second call of a function as a second layer of that name. Other
operators get names of their own.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from compiler.emit_onnx import serialized
from compiler.onnx_engines import OnnxSource

_NAMED = frozenset({"QuantizeLinear", "DequantizeLinear"})


def with_codes_inlined(source: OnnxSource) -> OnnxSource:
    """The source without local functions if one of them has 8-bit values; weights and names of its ports stay."""
    bodies = (ir.traversal.RecursiveGraphIterator(function) for function in source.model.functions.values())
    if not any(node.op_type in _NAMED for nodes in bodies for node in nodes):
        return source
    model = source.model.clone()
    InlinePass()(model)
    return replace(source, model=model, data=serialized(model))
