"""A graph that computes in bfloat16, written so that ONNX Runtime can run it on a CPU, where it has few such kernels.

Every operator computes in float32, between casts: its operands are exactly what they were, and its result is rounded to
bfloat16 at once. That is an execution operator by operator. Values keep their names and types, weights their places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from artifacts.errors import TargetError

_LOW, _WIDE = ir.DataType.BFLOAT16, ir.DataType.FLOAT
_TYPE_ATTRIBUTES = ("dtype", "output_dtype", "to")
"""Attributes that say which type a result has where no operand does."""


def in_float32(model: ir.Model) -> bool:
    """Rewrite all nodes of bfloat16, those of local functions, loops and branches too; whether there were any.

    Raises TargetError for an operator of unknown types.
    """
    rewriting = _Rewriting(model)
    rewriting.visit(model.graph, [_is_low(value) for value in model.graph.inputs], model.opset_imports)
    return rewriting.count > 0


class _Rewriting:
    """`low` are the values of bfloat16, told from operands to results: a file keeps no types of values inside."""

    def __init__(self, model: ir.Model) -> None:
        self.count = 0
        self._functions = model.functions
        self._low = set[ir.Value]()
        self._visited: dict[ir.OperatorIdentifier, tuple[list[bool], list[bool]]] = {}

    def visit(self, graph: ir.Graph | ir.Function, given: Sequence[bool], opsets: Mapping[str, int]) -> list[bool]:
        """Rewrite the nodes of a graph, of whose inputs it is given which are low; which of its outputs are."""
        self._low |= {value for value, is_low in zip(graph.inputs, given, strict=True) if is_low}
        if isinstance(graph, ir.Graph):
            self._low |= {value for value in graph.initializers.values() if _is_low(value)}
        for node in list(graph):
            operands = [value is not None and value in self._low for value in node.inputs]
            if (function := self._functions.get(node.op_identifier())) is not None:
                self._mark(node, self._called(function, operands))
            elif bodies := list(_bodies(node)):
                for name, body in bodies:
                    self._mark(node, self._inside(node, name, body, operands, opsets))
            else:
                results = _results(node, operands, opsets)
                self._mark(node, results)
                if node.op_type != "Cast" and (any(operands) or any(results)):
                    self._widen(graph, node)
        return [value in self._low for value in graph.outputs]

    def _called(self, function: ir.Function, operands: list[bool]) -> list[bool]:
        name = function.identifier()
        if name not in self._visited:
            self._visited[name] = operands, self.visit(function, operands, function.opset_imports)
        known, results = self._visited[name]
        if known != operands:
            raise TargetError.of("verify", f"function {function.name!r}", "is called with values of unlike types")
        return results

    def _inside(
        self, node: ir.Node, name: str, body: ir.Graph, operands: list[bool], opsets: Mapping[str, int]
    ) -> list[bool]:
        """Which results of a loop, a scan or a branch are low, told from those of its body."""
        if node.op_type == "Loop":  # of the number and the condition, which begin its operands and its body's inputs
            return self.visit(body, [False, False, *operands[2:]], opsets)[1:]
        return self.visit(body, [] if name in {"then_branch", "else_branch"} else operands, opsets)

    def _mark(self, node: ir.Node, results: Sequence[bool]) -> None:
        self._low |= {value for value, is_low in zip(node.outputs, results, strict=True) if is_low}

    def _widen(self, graph: ir.Graph | ir.Function, node: ir.Node) -> None:
        """Let a node compute in float32: what it takes is cast before it, what it gives after it."""
        self.count += 1
        wide: dict[ir.Value, ir.Value] = {}
        for place, value in enumerate(node.inputs):
            if value is not None and value in self._low:
                if value not in wide:
                    cast = _cast(value, _WIDE, f"{value.name}.for.{node.outputs[0].name}")
                    graph.insert_before(node, cast)
                    wide[value] = cast.outputs[0]
                node.replace_input_with(place, wide[value])
        for attribute in list(node.attributes.values()):
            _widen_attribute(node, attribute)
        for value in node.outputs:
            if value in self._low:
                self._low.remove(value)
                name = value.name
                value.name, value.dtype = f"{name}.wide", _WIDE
                cast = _cast(value, _LOW, name)
                result = cast.outputs[0]
                for user, place in list(value.uses()):
                    if user is not cast:
                        user.replace_input_with(place, result)
                for place, output in enumerate(graph.outputs):
                    if output is value:
                        result.shape = value.shape
                        graph.outputs[place] = result
                graph.insert_after(node, cast)
                self._low.add(result)


def _is_low(value: ir.Value) -> bool:
    return value.dtype == _LOW or (value.const_value is not None and value.const_value.dtype == _LOW)


def _cast(value: ir.Value, dtype: ir.DataType, name: str | None) -> ir.Node:
    cast = ir.node("Cast", [value], {"to": dtype})
    cast.outputs[0].name, cast.outputs[0].dtype = name, dtype
    return cast


def _bodies(node: ir.Node) -> Iterator[tuple[str, ir.Graph]]:
    for name, attribute in node.attributes.items():
        if attribute.type == ir.AttributeType.GRAPH:
            yield name, attribute.as_graph()


def _results(node: ir.Node, operands: Sequence[bool], opsets: Mapping[str, int]) -> list[bool]:
    """Which results are of bfloat16: by the type variables of the operator's schema, else by its attributes."""
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
    except (KeyError, onnx.defs.SchemaError) as error:
        operator = f"{node.domain}::{node.op_type}"
        raise TargetError.of("verify", f"node {node.name!r}", f"{operator} has no types that are known") from error
    variables = dict[str, bool]()
    for place, is_low in enumerate(operands):
        if node.inputs[place] is not None:
            variables.setdefault(schema.inputs[min(place, len(schema.inputs) - 1)].type_str, is_low)
    asked = any(_asks_low(attribute) for attribute in node.attributes.values())
    types = (schema.outputs[min(place, len(schema.outputs) - 1)].type_str for place in range(len(node.outputs)))
    return [variables.get(name, asked and "(" not in name) for name in types]


def _asks_low(attribute: ir.Attr) -> bool:
    if attribute.type == ir.AttributeType.TENSOR:
        return attribute.as_tensor().dtype == _LOW
    return attribute.name in _TYPE_ATTRIBUTES and attribute.value == _LOW


def _widen_attribute(node: ir.Node, attribute: ir.Attr) -> None:
    if not _asks_low(attribute):
        return
    if attribute.type == ir.AttributeType.TENSOR:
        array = attribute.as_tensor().numpy().astype(np.float32)
        node.attributes[attribute.name] = ir.AttrTensor(attribute.name, ir.tensor(array))
    else:
        node.attributes[attribute.name] = ir.AttrInt64(attribute.name, _WIDE)
