"""The functions of a decode as local functions of an ONNX model, with their weights as arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from artifacts.decode_inputs import DecodeInputs
from artifacts.weights import WeightRef
from compiler.emit_onnx import OnnxBody

DOMAIN = "unspool"
"""The domain of local functions."""


@dataclass(frozen=True, eq=False)
class Callee:
    """A local function, what it takes and gives by name, and the weights that it takes after its inputs."""

    function: ir.Function
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[int, ...]
    """By their number in `DecodeFunctions.weights`."""


@dataclass(frozen=True, eq=False)
class DecodeFunctions:
    """Everything that the engines of one decode are made of.

    `weights` has each content once, whichever functions use it, with its type in ONNX.
    """

    inputs: DecodeInputs
    callees: Mapping[str, Callee]
    weights: tuple[tuple[WeightRef, ir.DataType], ...]

    @classmethod
    def of(cls, inputs: DecodeInputs, bodies: Mapping[str, OnnxBody]) -> DecodeFunctions:
        """Make local functions of the emitted bodies, which are used up. Equal weights become one.

        Where a function chooses tokens, the steps do without their scores, which nothing else needs.
        """
        numbers: dict[tuple[WeightRef, ir.DataType], int] = {}
        callees: dict[str, Callee] = {}
        roles = {inputs.schedule.encoder: "encoder", inputs.schedule.choice: "choice"}
        for function, body in bodies.items():
            if inputs.schedule.choice is not None and function in inputs.schedule.choosers:
                _remove_output(body.model, inputs.schedule.logits)
            held = {name: ref for name, ref in body.weights.items() if name in body.model.graph.initializers}
            arguments = []
            for name, ref in held.items():
                dtype = body.model.graph.initializers[name].dtype
                assert dtype is not None
                arguments.append(numbers.setdefault((ref, dtype), len(numbers)))
            graph = body.model.graph
            given = tuple(value.name or "" for value in graph.inputs)
            made = tuple(value.name or "" for value in graph.outputs)
            role = roles.get(function, f"step{len(callees)}")
            callees[function] = Callee(_local_function(body.model.graph, held, role), given, made, tuple(arguments))
        return cls(inputs, callees, tuple(numbers))


def _remove_output(model: ir.Model, name: str) -> None:
    """Take away an output and what led to that alone: ONNX Runtime computes what a function computes, used or not."""
    outputs = model.graph.outputs
    outputs.remove(next(value for value in outputs if value.name == name))
    RemoveUnusedNodesPass()(model)


def _local_function(graph: ir.Graph, weights: Collection[str], name: str) -> ir.Function:
    """The graph as a function: weights become inputs after its own, small constants become nodes."""
    for constant_name in [n for n in graph.initializers if n not in weights]:
        value = graph.initializers.pop(constant_name)
        node = ir.node("Constant", [], {"value": value.const_value})
        node.outputs[0].name, node.outputs[0].type = value.name, value.type
        graph.insert_before(graph[0], node) if len(graph) else graph.append(node)
        value.replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
    for weight_name in weights:
        graph.inputs.append(graph.initializers.pop(weight_name))
    return ir.Function(DOMAIN, name, graph=graph, attributes=[])
