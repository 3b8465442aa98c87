"""Operators that ONNX itself defines by a function body: the body runs in place of a converter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import onnx
import onnx.helper
import onnx_ir as ir
import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.values import Known, Value
from passes.torch_dtypes import logical_dtype


def schema_function(call: Call, inputs: Sequence[Value]) -> ir.Function | None:
    """The body that the operator's schema gives, or None if it has none.

    A body may depend on the types of the inputs; those of a traced tensor are known.
    """
    schema = call.schema
    if schema is None:
        return None
    if schema.has_context_dependent_function:
        versions = [v for v in schema.context_dependent_function_opset_versions if v >= call.since]
        if not versions:
            return None
        types = [_type_proto(value).SerializeToString() for value in inputs]
        body = schema.get_context_dependent_function_with_opset_version(
            versions[0], ir.to_proto(call.node).SerializeToString(), types
        )
        return _deserialize(body)
    if schema.has_function:
        return _deserialize(schema.function_body.SerializeToString())
    return None


def has_function(schema: onnx.defs.OpSchema | None) -> bool:
    """True if the schema can give a body for some input types."""
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def _deserialize(body: bytes) -> ir.Function:
    return ir.from_proto(onnx.FunctionProto.FromString(body))


def _type_proto(value: Value) -> onnx.TypeProto:
    if isinstance(value, torch.Tensor | Known):
        name = logical_dtype(value.dtype)
        number = onnx.helper.np_dtype_to_tensor_dtype(name.numpy) if name.is_native else ir.DataType[name.upper()].value
        rank = value.dim() if isinstance(value, torch.Tensor) else value.array.ndim
        return onnx.helper.make_tensor_type_proto(number, [None] * rank)
    return onnx.TypeProto()
