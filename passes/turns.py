"""Permutations of axes, as passes meet them in a graph."""

from __future__ import annotations

import torch
from torch.fx import Node

from passes.axis_maps import argument_of

_aten = torch.ops.aten

TURNS = (_aten.permute.default, _aten.transpose.int)
"""Operators that put axes in another order."""


def unturned(node: Node) -> tuple[Node, list[int]]:
    """What a node is a permutation of, and its axes in the order in which the node has them."""
    order = list(range(node.meta["val"].dim()))
    while node.target in TURNS:
        rank = len(order)
        axes = list(range(rank))
        if node.target is _aten.permute.default:
            axes = [axis % rank for axis in argument_of(node, 1)]
        else:
            first, second = (argument_of(node, position) % rank for position in (1, 2))
            axes[first], axes[second] = axes[second], axes[first]
        order = [axes[axis] for axis in order]
        node = node.all_input_nodes[0]
    return node, order
