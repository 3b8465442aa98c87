"""Which tensors of a function are given in 8 bits, and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from passes.program import Function
from passes.quantized_products import Product

_aten = torch.ops.aten

_SAME_VALUES = frozenset(
    {
        _aten.max_pool1d.default,
        _aten.max_pool2d.default,
        _aten.max_pool3d.default,
        _aten.view.default,
        _aten.reshape.default,
        _aten.flatten.using_ints,
        _aten.permute.default,
        _aten.transpose.int,
        _aten.squeeze.dim,
        _aten.squeeze.dims,
        _aten.unsqueeze.default,
    }
)
"""What gives values that it was given: the codes of its operand are right for it too."""


@dataclass(frozen=True, eq=False)
class QuantizedValues:
    """`shared` are the tensors that everybody takes in 8 bits, `measured` all those whose range is needed.

    The data of a product that is not shared is quantised for that product alone: a residual that a sum takes as well
    keeps its precision.
    """

    products: tuple[Product, ...]
    shared: frozenset[Node]
    measured: frozenset[Node]

    @classmethod
    def of(cls, function: Function, products: Sequence[Product]) -> QuantizedValues:
        """What these products make quantised: their data, convolutions' results, and sums of those."""
        shared = {product.result for product in products if product.result is not None}
        data = {product.data for product in products}
        for node in function.computations:
            if node.target is _aten.add.Tensor and not node.kwargs and len(node.all_input_nodes) == 2:
                users = list(node.users)
                is_relu = len(users) == 1 and users[0].target is _aten.relu.default
                result = users[0] if is_relu else node
                if result in data and all(operand in shared for operand in node.all_input_nodes):
                    shared.add(result)
        sources = {source_of(product.data, shared) for product in products}
        return cls(tuple(products), frozenset(shared), frozenset(shared | sources))

    def source(self, data: Node) -> Node:
        """The tensor whose codes the data of a product has."""
        return source_of(data, self.shared)


def source_of(data: Node, shared: set[Node] | frozenset[Node]) -> Node:
    """The shared tensor that the data is a view of, or the data itself."""
    node = data
    while node not in shared and node.target in _SAME_VALUES:
        node = node.all_input_nodes[0]
    return node if node in shared else data
