"""Make one operation of the hard swish that exporters write in four."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.fx import Node

from artifacts.weights import WeightStore
from passes.axis_maps import argument_of
from passes.bodies import copied_graph, rewritten
from passes.contract import FunctionPass
from passes.program import Function
from passes.scales import number_of, scalars_of, unscaled

_aten = torch.ops.aten


@dataclass(frozen=True)
class FuseHardSwish(FunctionPass):
    """x * clamp(x + 3, 0, 6) / 6  ->  aten.hardswish(x), as Howard et al. 2019 (arXiv:1905.02244) define it.

    The division may stand anywhere, and be a product with a sixth.
    """

    name: ClassVar[str] = "fuse-hard-swish"

    def rewrite_function(
        self, function: Function, weights: WeightStore
    ) -> tuple[Function, WeightStore, tuple[str, ...]]:
        graph, _ = copied_graph(function.body)
        scalars = scalars_of(function, weights)
        sources = dict(function.sources)
        fused = 0
        for node in list(graph.nodes):
            value = _hard_swish_of(node, scalars)
            if value is None:
                continue
            with graph.inserting_before(node):
                made = graph.call_function(_aten.hardswish.default, (value,))
            made.meta["val"] = node.meta["val"]
            if node.name in sources:
                sources[made.name] = sources[node.name]
            node.replace_all_uses_with(made)
            fused += 1
        if not fused:
            return function, weights, ()
        return rewritten(function, graph, function.weights, sources), weights, (f"hard swishes fused: {fused}",)


def _hard_swish_of(node: Node, scalars: Mapping[str, float]) -> Node | None:
    """What the node is the hard swish of, if it is one."""
    product, scale = unscaled(node, scalars)
    if product.target is not _aten.mul.Tensor or not node.users:
        return None
    for value, gate in (product.args[:2], product.args[1::-1]):
        if not isinstance(gate, Node):
            continue
        clamped, factor = unscaled(gate, scalars)
        if math.isclose(6 * scale * factor, 1, rel_tol=1e-6) and _clamped(clamped, scalars) is value:
            dtypes = {n.meta["val"].dtype for n in (node, clamped)}
            return value if isinstance(value, Node) and dtypes == {torch.float32} else None
    return None


def _clamped(node: Node, scalars: Mapping[str, float]) -> object:
    """The x of a node that is clamp(x + 3, 0, 6)."""
    if node.target is not _aten.clamp.default:
        return None
    least, most = argument_of(node, 1), argument_of(node, 2)
    shifted = node.args[0]
    if (least, most) != (0, 6) or not isinstance(shifted, Node) or shifted.target is not _aten.add.Tensor:
        return None
    if shifted.kwargs:
        return None
    (one, other) = shifted.args
    return one if number_of(other, scalars) == 3 else other if number_of(one, scalars) == 3 else None
