"""Compute each thing once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch.fx.node import Argument

from artifacts.weights import WeightStore
from passes.bodies import copied_graph, edited
from passes.contract import FunctionPass
from passes.program import Function
from passes.subgraphs import merge_operands


@dataclass(frozen=True)
class EliminateCommonSubexpressions(FunctionPass):
    """Of nodes with the same operator and the same arguments the first stays.

    Two weight placeholders of one reference count as the same argument, so a tie that the source spells as two
    initializers of equal content is found as well. Random operators are left alone: two draws are two values.
    """

    name: ClassVar[str] = "eliminate-common-subexpressions"

    def rewrite_function(
        self, function: Function, weights: WeightStore
    ) -> tuple[Function, WeightStore, tuple[str, ...]]:
        graph, _ = copied_graph(function.body)
        first: dict[Hashable, torch.fx.Node] = {}
        merged: set[str] = set()
        for node in list(graph.nodes):
            key = _key(node, function)
            if key is None:
                continue
            original = first.setdefault(key, node)
            if original is not node:
                node.replace_all_uses_with(original)
                graph.erase_node(node)
                merged.add(node.name)
        if not merged:
            return function, weights, ()
        kept = replace(
            function,
            body=edited(function.body, graph, merge_operands(graph, function.body.graph_module)),
            weights={name: ref for name, ref in function.weights.items() if name not in merged},
            sources={name: source for name, source in function.sources.items() if name not in merged},
        )
        return kept, weights, (f"common subexpressions: {len(merged)}",)


def _key(node: torch.fx.Node, function: Function) -> Hashable | None:
    if node.op == "placeholder":
        ref = function.weights.get(node.name)
        return None if ref is None else ("weight", ref)
    if node.op != "call_function" or _is_random(node):
        return None
    return (node.target, _frozen(node.args), _frozen(dict(node.kwargs)))


def _is_random(node: torch.fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def _frozen(argument: Argument) -> Hashable:
    """Arguments as a hashable value. The type is part of it: 1, 1.0 and True are equal in Python, not in a graph."""
    if isinstance(argument, list | tuple):
        return ("list", *map(_frozen, argument))
    if isinstance(argument, dict):
        return ("dict", *sorted((key, _frozen(value)) for key, value in argument.items()))
    if isinstance(argument, float):
        return ("float", repr(argument))  # -0.0 and 0.0 are equal too, and nan is not equal to itself
    return (type(argument).__name__, argument)
