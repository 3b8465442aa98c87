"""What runs in place of a converter: a function of the model, or the body by which ONNX itself defines an operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import ml_dtypes
import numpy as np
import onnx
import onnx.defs
import onnx.helper
import onnx_ir as ir
import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import normal_domain, opset_of, schema_of
from passes.onnx_to_torch.values import Known, Value
from passes.torch_dtypes import logical_dtype


class _Bodies(Protocol):
    """What onnx's own type stubs leave out of OpSchema."""

    has_function: bool
    has_context_dependent_function: bool
    context_dependent_function_opset_versions: Sequence[int]

    def get_context_dependent_function_with_opset_version(
        self, opset_version: int, node: bytes, input_types: Sequence[bytes]
    ) -> bytes: ...


def model_function(model: ir.Model, node: ir.Node, opsets: Mapping[str, int]) -> ir.Function | None:
    """The function of the model that a node calls, or None if it calls none.

    An operator that ONNX defines, in the version that `opsets` imports, goes before a function of its name. The
    format leaves that to the runtime; ONNX Runtime, whose answers are the source's, and ONNX's own evaluator do so.
    """
    function = model.functions.get(node.op_identifier())
    if function is None or schema_of(node.domain, node.op_type, opset_of(opsets, node.domain)) is not None:
        return None
    return function


def schema_function(call: Call, inputs: Sequence[Value], opsets: Mapping[str, int]) -> ir.Function | None:
    """The body that the operator's schema gives, or None if it has none for these inputs.

    A body may depend on the types of the inputs; those of a traced tensor are known. Attributes that the node
    may leave out have the schema's defaults in it. `opsets` are those of the graph that the node is in: a body
    of another domain (FlexAttention's) may use ONNX's own operators without naming a version.
    """
    if call.schema is None:
        return None
    bodies = cast("_Bodies", call.schema)
    if bodies.has_context_dependent_function:
        # A body may be written in an older operator set than the node's; it says in which.
        version = max(bodies.context_dependent_function_opset_versions)
        node = ir.to_proto(call.node)
        del node.attribute[:]
        for name, attribute in call.attributes.items():
            node.attribute.append(ir.to_proto(attribute))
            node.attribute[-1].name = name  # one that came from an enclosing function has its name there
        types = [_type_proto(value).SerializeToString() for value in inputs]
        body = bodies.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), types)
        return _deserialize(onnx.FunctionProto.FromString(body), call.schema, opsets)
    if bodies.has_function:
        body = call.schema.function_body.SerializeToString()  # a copy: the schema is shared by everyone
        return _deserialize(onnx.FunctionProto.FromString(body), call.schema, opsets)
    return None


def has_function(schema: onnx.defs.OpSchema | None) -> bool:
    """True if the schema can give a body for some input types."""
    if schema is None:
        return False
    bodies = cast("_Bodies", schema)
    return bodies.has_function or bodies.has_context_dependent_function


def _deserialize(body: onnx.FunctionProto, schema: onnx.defs.OpSchema, opsets: Mapping[str, int]) -> ir.Function | None:
    if not body.node:  # the schema cannot tell from these types
        return None
    if all(normal_domain(imported.domain) for imported in body.opset_import):
        body.opset_import.append(onnx.helper.make_opsetid("", opset_of(opsets, "")))
    # A body lists the operator's optional outputs whether or not it was made to compute them.
    made = {*body.input, *(name for node in body.node for name in node.output)}
    while body.output[-1] not in made:
        body.output.pop()
    defaults = [schema.attributes[name].default_value for name in body.attribute if name in schema.attributes]
    body.attribute_proto.extend(default for default in defaults if default.name)
    kept = [name for name in body.attribute if name not in {default.name for default in defaults}]
    del body.attribute[:]
    body.attribute.extend(kept)
    return ir.serde.deserialize_function(body)


def _type_proto(value: Value) -> onnx.TypeProto:
    if isinstance(value, torch.Tensor | Known):
        name = logical_dtype(value.dtype)
        kind = ir.DataType.from_numpy(name.numpy if name.is_native else np.dtype(getattr(ml_dtypes, name)))
        sizes = value.shape if isinstance(value, torch.Tensor) else value.array.shape
        fixed = [size if isinstance(size, int) else None for size in sizes]
        return onnx.helper.make_tensor_type_proto(kind.value, fixed)
    return onnx.TypeProto()
