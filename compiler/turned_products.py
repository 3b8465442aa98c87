"""Products that read a matrix of weights turned, as ONNX Runtime reads it in place.

ONNX Runtime computes what depends on initializers alone when it opens an engine: the transpose of a weight becomes a
copy of it in private memory, one for each place that has it. Its own product that turns as it goes makes none.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

_DOMAIN = "com.microsoft"


def read_in_place(graph: ir.Graph, weights: Collection[ir.Value]) -> None:
    """Make a FusedMatMul of each product with the transpose of a float32 weight, branches and loops included.

    What has a bias and two dimensions is a Gemm already, which turns as it goes too.
    """
    for node in [*ir.traversal.RecursiveGraphIterator(graph)]:
        turn = _turn_of_weight(node, weights)
        if turn is None:
            continue
        node.op_type, node.domain = "FusedMatMul", _DOMAIN
        node.attributes["transB"] = ir.AttrInt64("transB", 1)
        node.replace_input_with(1, turn.inputs[0])
        graph.opset_imports[_DOMAIN] = 1
        (turned,) = turn.outputs
        if not turned.uses() and not turned.is_graph_output():
            assert turn.graph is not None
            turn.graph.remove(turn, safe=True)


def _turn_of_weight(node: ir.Node, weights: Collection[ir.Value]) -> ir.Node | None:
    """The node that transposes a matrix of weights for this product, if it is one with such a matrix."""
    if node.op_type != "MatMul" or node.domain not in ("", "ai.onnx"):
        return None
    matrix = node.inputs[1]
    turn = None if matrix is None else matrix.producer()
    if turn is None or turn.op_type != "Transpose" or turn.domain not in ("", "ai.onnx"):
        return None
    weight, order = turn.inputs[0], turn.attributes.get("perm")
    is_float = weight is not None and weight in weights and weight.dtype == ir.DataType.FLOAT
    return turn if is_float and order is not None and [*order.as_ints()] == [1, 0] else None
