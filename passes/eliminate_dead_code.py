"""Remove computations and weights that no output needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from artifacts.weights import WeightStore
from passes.bodies import copied_graph, edited
from passes.contract import FunctionPass
from passes.program import Function
from passes.subgraphs import sweep


@dataclass(frozen=True)
class EliminateDeadCode(FunctionPass):
    """Computations without users go, from the last to the first, in branches too; then weights without users.

    Inputs of the signature stay, used or not: the signature is a promise to callers. Every operator of a body is
    pure (export made it functional), so having no users is enough.
    """

    name: ClassVar[str] = "eliminate-dead-code"

    def rewrite_function(
        self, function: Function, weights: WeightStore
    ) -> tuple[Function, WeightStore, tuple[str, ...]]:
        graph, _ = copied_graph(function.body)
        modules, removed = sweep(graph, function.body.graph_module)
        for node in [n for n in graph.nodes if n.op == "placeholder" and n.name in function.weights and not n.users]:
            graph.erase_node(node)
            removed += 1
        if not removed:
            return function, weights, ()
        remaining = {node.name for node in graph.nodes}
        kept = replace(
            function,
            body=edited(function.body, graph, modules),
            weights={name: ref for name, ref in function.weights.items() if name in remaining},
            sources={name: source for name, source in function.sources.items() if name in remaining},
        )
        return kept, weights, (f"dead nodes: {removed}",)
