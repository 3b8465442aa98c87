"""`unspool::two_stage_choice` as ONNX Runtime runs it: a product in bytes, exact rows of a few, and an If around all.

The operators are those of the reference in `passes/dialect/choice.py`, which says why, and as few as there can be: a
small decoder spends more time between operators than in them. com.microsoft has the two products that scale and
transpose as they go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import onnx_ir as ir
from onnxscript import evaluator

from compiler.onnx_translations import opset
from passes import dialect

op: Any = opset.op


def _two_stage_choice(  # noqa: PLR0913, PLR0917  # the arguments of the schema
    hidden: Any,
    ended: Any,
    rows: Any,
    bias: Any,
    codes: Any,
    scales: Any,
    bounds: Any,
    ceilings: Any,
    margins: Any,
    candidates: int,
) -> Any:
    across = _integers(1)
    vectors = op.Squeeze(hidden, across)
    quantized, scale, zero = op.DynamicQuantizeLinear(vectors)
    lost = op.Sub(vectors, op.DequantizeLinear(quantized, scale, zero))
    length, short = (op.ReduceL2(part, across, keepdims=1) for part in (vectors, lost))
    scaled = [quantized, codes, scale, scales, zero, None, ceilings]
    products = _recorded(ir.node("MatMulIntegerToFloat", scaled, domain="com.microsoft"))
    upper = op.Gemm(op.Concat(length, short, axis=1), bounds, products)
    highest, places = op.TopK(upper, _integers(candidates), axis=1)
    near = op.Gather(rows, places)
    columns = _recorded(ir.node("FusedMatMul", [hidden, near], {"transB": 1}, domain="com.microsoft"))
    exact = op.Squeeze(columns, across)
    exact = exact if bias is None else op.Add(exact, op.Gather(bias, places))
    leading, order = op.TopK(exact, _integers(2), axis=1)
    best, second = (op.Gather(leading, _integers(place), axis=1) for place in (0, 1))
    ahead = op.Sub(best, op.Max(second, op.Gather(highest, _integers(candidates - 1), axis=1)))
    per_length, constant = (op.Gather(margins, _integers(place)) for place in (0, 1))
    proven = op.Or(op.Greater(ahead, op.Add(op.Mul(length, per_length), constant)), ended)
    every = op.ReduceMin(proven, keepdims=0)
    candidate = op.GatherElements(places, op.Gather(order, _integers(0), axis=1), axis=1)
    branches = {
        "then_branch": _branch([ir.node("Identity", [candidate])], 0, "candidate"),
        "else_branch": _branch(_full_product(vectors, rows, bias, proven, candidate), 1, "full_product"),
    }
    choice = ir.node("If", [every], branches, num_outputs=2)
    _recorded(choice)
    return choice.outputs


def _full_product(vectors: Any, rows: Any, bias: Any, proven: Any, candidate: Any) -> list[ir.Node]:
    """The candidates, and in rows that are not proven the place of the highest of all scores, int64 [b, 1].

    It is found as ArgMax finds it in [vocabulary, rows]. The head is the left factor because ONNX Runtime packs right
    ones, and in a branch for each branch anew: an engine of 25 positions would hold the vocabulary's rows 25 times,
    for a product that is hardly ever needed. Most often it is one row that needs it, which reads the head and does
    little else; all rows of a batch take several times as long.
    """
    nodes: list[ir.Node] = []

    def made(operator: str, *inputs: Any, **attributes: Any) -> Any:
        nodes.append(ir.node(operator, inputs, attributes))
        return nodes[-1].outputs[0]

    unproven = made("Not", made("Squeeze", proven, _integers(1)))
    left = made("Transpose", made("NonZero", unproven), perm=[1, 0])
    few = made("GatherND", vectors, left)
    columns = [] if bias is None else [made("Unsqueeze", bias, _integers(1))]
    scores = made("Gemm", rows, few, *columns, transB=1)
    highest = made("Transpose", made("ArgMax", scores, axis=0, keepdims=1), perm=[1, 0])
    made("ScatterND", candidate, left, highest)
    return nodes


def _branch(nodes: Sequence[ir.Node], count: int, name: str) -> ir.Graph:
    """A branch of what lies around it: what the last node gives, and how many full products that took."""
    (token,) = nodes[-1].outputs
    number = ir.node("Constant", [], {"value_int": count})
    for value, called in ((token, name), (number.outputs[0], f"{name}_count")):
        value.name, value.type = called, ir.TensorType(ir.DataType.INT64)
    return ir.Graph([], [token, *number.outputs], nodes=[*nodes, number], name=name)


def _recorded(node: ir.Node) -> ir.Value:
    """The first output of a node that onnxscript has no name for."""
    recorder: Any = evaluator.default()
    recorder.nodes.append(node)
    return node.outputs[0]


def _integers(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {dialect.TWO_STAGE_CHOICE: _two_stage_choice}
)
