"""Leave out what only moves elements to and fro."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch.fx import Graph, Node

from artifacts.weights import WeightStore
from passes.bodies import copied_graph, edited
from passes.contract import FunctionPass
from passes.graph_editor import GraphEditor
from passes.movement import moved
from passes.program import Function
from passes.redundant_casts import CASTS, without_cast
from passes.redundant_expansions import with_broadcasting, without_expansion
from passes.redundant_pieces import (
    PIECES,
    element_of_stack,
    piece_of_joined,
    without_joining,
    without_slice_of_slice,
)
from passes.redundant_turns import with_turns_met, without_turn
from passes.redundant_views import COPIES, RESHAPES, VIEWS, without_slice, without_view
from passes.subgraphs import edit_graphs, erase_unused
from passes.turns import TURNS

_REPLACEMENTS: Sequence[Callable[[GraphEditor, Node], Node | None]] = (
    without_view,
    without_slice,
    without_cast,
    without_expansion,
    without_turn,
    without_slice_of_slice,
    piece_of_joined,
    element_of_stack,
    without_joining,
)
"""What may take the place of a node: something that is there, or a new node that moves less."""

_CHANGES: Sequence[Callable[[GraphEditor, Node], bool]] = (with_broadcasting, with_turns_met)
"""What writes a node, and those around it, in another way; true if it did."""


_SHARING = (VIEWS - COPIES) | PIECES | CASTS | {*TURNS, torch.ops.aten.expand.default}
"""Operators whose result may share memory with their operand."""


@dataclass(frozen=True)
class EliminateCopies(FunctionPass):
    """x there and back  ->  x: turns, casts, expansions and pieces, whoever wrote them, with the same bits in the end.

    One rule for each of the files whose names begin with `redundant`. A rule leaves no more operators than there were
    and moves no more bytes, so the order in which they are tried changes nothing but the time that it takes.
    """

    name: ClassVar[str] = "eliminate-copies"

    def rewrite_function(
        self, function: Function, weights: WeightStore
    ) -> tuple[Function, WeightStore, tuple[str, ...]]:
        graph, _ = copied_graph(function.body)
        sources = dict(function.sources)

        def edit(inner: Graph) -> int:
            kept = frozenset() if inner is graph else _leading_out(inner)
            count = _settle(GraphEditor(inner, function.symbols, sources, kept))
            _reshape_what_is_viewed(inner)
            return count

        modules, count = edit_graphs(graph, function.body.graph_module, edit)
        if not count:
            return function, weights, ()
        for node in [n for n in graph.nodes if n.op == "placeholder" and n.name in function.weights and not n.users]:
            graph.erase_node(node)
        names = {node.name for node in graph.nodes}
        changed = replace(
            function,
            body=edited(function.body, graph, modules),
            weights={name: ref for name, ref in function.weights.items() if name in names},
            sources={name: source for name, source in sources.items() if name in names},
        )
        operators = " to ".join(str(moved(f).operators) for f in (function, changed))
        return changed, weights, (f"copies eliminated: {count}, operators that move elements: {operators}",)


def _settle(editor: GraphEditor) -> int:
    """Apply the rules until none has anything to say; how often one had."""
    total, before = 0, -1
    while total > before:
        before = total
        for node in list(editor.graph.nodes):
            if node.op != "call_function" or not node.users or node in editor.kept:
                continue
            new = next((n for rule in _REPLACEMENTS if (n := rule(editor, node)) is not None), None)
            if new is not None:
                node.replace_all_uses_with(new)
            total += new is not None or any(rule(editor, node) for rule in _CHANGES)
        erase_unused(editor.graph)
    return total


def _reshape_what_is_viewed(graph: Graph) -> None:
    """Let no operator insist on where its operand's elements lie: a copy that is left out may have put them there."""
    for node in graph.nodes:
        if node.target in RESHAPES:
            node.target = torch.ops.aten.reshape.default


def _leading_out(graph: Graph) -> frozenset[Node]:
    """Nodes of a branch that its results may share memory with: torch refuses branches that give what they are given.

    What the branch computes or copies shares memory with nothing, but a copy that is a result has to stay one.
    """
    waiting = list(next(iter(reversed(graph.nodes))).all_input_nodes)
    found: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes if node.target in _SHARING else ()
    return frozenset(found)
