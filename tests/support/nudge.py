"""A wrong pass, to see that it is found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from artifacts.weights import WeightStore
from passes.bodies import copied_graph, edited
from passes.contract import FunctionPass
from passes.program import Function


@dataclass(frozen=True)
class Nudge(FunctionPass):
    """A wrong pass: it computes one node otherwise, and 0.01 too high."""

    name: ClassVar[str] = "nudge"
    function: str
    node: str
    keep_name: bool = True

    def rewrite_function(
        self, function: Function, weights: WeightStore
    ) -> tuple[Function, WeightStore, tuple[str, ...]]:
        if function.name != self.function:
            return function, weights, ()
        graph, _ = copied_graph(function.body)
        node = next(n for n in graph.nodes if n.name == self.node)
        with graph.inserting_after(node):
            high = graph.call_function(torch.ops.aten.add.Tensor, (node, 1e-2))
        high.meta = dict(node.meta)
        node.replace_all_uses_with(high, delete_user_cb=lambda user: user is not high)
        if self.keep_name:
            node.name, high.name = f"{node.name}_exact", node.name
        return replace(function, body=edited(function.body, graph)), weights, ("nudged",)
