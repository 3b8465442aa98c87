"""Products with a matrix of weights, in whichever of ATen's ways they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from artifacts.weights import WeightRef
from passes.program import Function

_aten = torch.ops.aten

TURNS = (_aten.permute.default, _aten.transpose.int, _aten.t.default)
"""Operators that turn a matrix."""

_PRODUCTS: Mapping[Any, tuple[int, ...]] = {
    _aten.matmul.default: (0, 1),
    _aten.mm.default: (0, 1),
    _aten.linear.default: (0, 1, 2),
    _aten.addmm.default: (1, 2, 0),
}
"""Operators that multiply with a matrix, and where among their arguments the operand, the matrix and the bias are."""


@dataclass(frozen=True, eq=False)
class WeightProduct:
    """operand [..., size] times a matrix, plus `bias` if there is one: results [..., rows].

    `weight` is the placeholder of the matrix, which is [rows, size] if it is turned for the product, else [size, rows].
    """

    node: Node
    operand: Node
    weight: Node
    matrix: WeightRef
    is_turned: bool
    bias: Node | None

    @property
    def matrix_place(self) -> int:
        """Which argument of the node the matrix is."""
        return _PRODUCTS[self.node.target][1]

    @property
    def rows(self) -> int:
        """How many sums each row of the operand gives."""
        return self.matrix.shape[0 if self.is_turned else 1]

    @property
    def size(self) -> int:
        """How many terms each sum has."""
        return self.matrix.shape[1 if self.is_turned else 0]


def weight_product(node: Node, function: Function) -> WeightProduct | None:
    """The node as a product with a weight of rank 2; None if it is none."""
    places = _PRODUCTS.get(node.target)
    if places is None or any(factor != 1 for factor in node.kwargs.values()):
        return None
    operand, matrix, *others = (node.args[place] for place in places if place < len(node.args))
    turned = node.target is _aten.linear.default
    while isinstance(matrix, Node) and matrix.target in TURNS and matrix.meta["val"].dim() == 2:
        turned, matrix = not turned, matrix.all_input_nodes[0]
    if not isinstance(operand, Node) or not isinstance(matrix, Node):
        return None
    ref, bias = function.weights.get(matrix.name), others[0] if others else None
    if ref is None or len(ref.shape) != 2 or not (bias is None or isinstance(bias, Node)):
        return None
    return WeightProduct(node, operand, matrix, ref, turned, bias)
