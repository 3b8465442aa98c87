"""Products that read a matrix of weights turned, so that the matrix and its transpose need not both be stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.fx import Graph, Node

from artifacts.weights import WeightRef
from passes.bodies import copied_graph, rewritten, weight_placeholder
from passes.program import Function
from passes.turns import unturned
from passes.weight_products import TURNS, WeightProduct, weight_product

_aten = torch.ops.aten


@dataclass(frozen=True)
class TurnedReads:
    """What reading a matrix turned would make of the products that use it.

    `products` would read it turned that do not, `others` read it turned as it is and would not any more. It cannot be
    done for a matrix with `fixed` users: their rows are looked up, they lie in a branch, and so on.
    """

    products: int = 0
    others: int = 0
    fixed: int = 0

    def __add__(self, other: TurnedReads) -> TurnedReads:
        return TurnedReads(self.products + other.products, self.others + other.others, self.fixed + other.fixed)


def turned_reads(function: Function, ref: WeightRef) -> TurnedReads:
    """What uses the matrix in one function."""
    total = TurnedReads()
    for node in _holders(function, ref):
        for user in node.users:
            product = _direct_product(user, node, function)
            turned = _is_turn(user) or (product is not None and product.is_turned)
            total += TurnedReads(int(product is not None and not turned), int(turned), int(not turned and not product))
    return total


def with_turned(function: Function, dropped: WeightRef, kept: WeightRef) -> Function:
    """The function with `kept` [columns, rows] in place of `dropped` [rows, columns], its transpose.

    Every user has to be one that can be changed, see `turned_reads`.
    """
    holders = _holders(function, dropped)
    if not holders:
        return function
    graph, new = copied_graph(function.body)
    weights, sources = dict(function.weights), dict(function.sources)
    for holder in holders:
        matrix = weight_placeholder(graph, weights, f"{holder.name}_turned", kept, holder)
        if holder.name in sources:
            sources.setdefault(matrix.name, sources[holder.name])
        for user in holder.users:
            product = _direct_product(user, holder, function)
            if product is None:
                new[user].replace_all_uses_with(matrix)
                continue
            result = _turned_product(graph, product, new, matrix)
            if user.name in sources:
                sources[result.name] = sources[user.name]
            new[user].replace_all_uses_with(result)
    return rewritten(function, graph, weights, sources)


def _holders(function: Function, ref: WeightRef) -> Sequence[Node]:
    return [node for node in function.weight_nodes if function.weights[node.name] == ref]


def _direct_product(user: Node, weight: Node, function: Function) -> WeightProduct | None:
    """The user as a product with the matrix as it is given, in which the matrix is nothing else."""
    product = weight_product(user, function)
    if product is None or user.args[product.matrix_place] is not weight or user.args.count(weight) != 1:
        return None
    if not product.matrix.dtype.is_float or product.operand.meta["val"].dim() < 2:
        return None
    return product if product.bias is None or product.bias.meta["val"].dim() == 1 else None


def _is_turn(node: Node) -> bool:
    """True for the transpose of a matrix."""
    return node.target is _aten.t.default or (node.target in TURNS and unturned(node)[1] == [1, 0])


def _turned_product(graph: Graph, product: WeightProduct, new: dict[Node, Node], matrix: Node) -> Node:
    """The product with the transpose stored: `linear` where it is turned for the product, else `matmul`."""
    old, operand = new[product.node], new[product.operand]
    bias = [] if product.bias is None else [new[product.bias]]

    with graph.inserting_before(old):
        if not product.is_turned:
            result = graph.call_function(_aten.linear.default, (operand, matrix, *bias))
        else:
            result = graph.call_function(_aten.matmul.default, (operand, matrix))
            if bias:
                result.meta["val"] = old.meta["val"]
                result = graph.call_function(_aten.add.Tensor, (result, *bias))
    result.meta["val"] = old.meta["val"]
    return result
