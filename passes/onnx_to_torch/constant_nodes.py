"""Nodes by name, and the constant tensors in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from artifacts.errors import UnsupportedError


def label_of(node: ir.Node) -> str:
    """How messages name a node: its own name, else its operator and first output."""
    return node.name or f"{node.op_type}:{next((o.name for o in node.outputs if o.name), '?')}"


def constant_of(node: ir.Node) -> ir.TensorProtocol:
    """The tensor of a Constant node that holds it. The same object on every call: it is cached by identity."""
    cached: ir.TensorProtocol | None = node.meta.get("unspool.constant")
    if cached is None:
        cached = node.meta["unspool.constant"] = read_constant(node, node.attributes)
    return cached


def is_constant(node: ir.Node) -> bool:
    """True for a Constant node that holds its tensor, rather than naming an attribute of the function it is in."""
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx") and not refers(node)


def refers(node: ir.Node) -> bool:
    """True for a node that names an attribute of the function it is in."""
    return any(attribute.is_ref() for attribute in node.attributes.values())


def read_constant(node: ir.Node, attributes: Mapping[str, ir.Attr]) -> ir.TensorProtocol:
    """The tensor that a Constant node with these attributes holds. Raises UnsupportedError for strings."""
    name = node.outputs[0].name or ""
    for kind, dtype in (
        ("value_int", np.int64),
        ("value_ints", np.int64),
        ("value_float", np.float32),
        ("value_floats", np.float32),
    ):
        if kind in attributes:
            return ir.tensor(np.asarray(attributes[kind].value, dtype), name=name)
    if "value" in attributes:
        return attributes["value"].as_tensor()
    found = ", ".join(attributes)
    raise UnsupportedError.of("convert", label_of(node), f"a Constant given as {found or 'nothing'}")


def constant_tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every initializer and every Constant of the model, those of subgraphs and functions included."""
    yield from (v.const_value for v in model.graph.initializers.values() if v.const_value is not None)
    roots: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for root in roots:
        for node in ir.traversal.RecursiveGraphIterator(root):
            if is_constant(node):
                yield constant_of(node)
            for attribute in node.attributes.values():
                for graph in _graphs(attribute):
                    yield from (v.const_value for v in graph.initializers.values() if v.const_value is not None)


def _graphs(attribute: ir.Attr) -> Sequence[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    if attribute.type == ir.AttributeType.GRAPHS:
        return attribute.as_graphs()
    return []
