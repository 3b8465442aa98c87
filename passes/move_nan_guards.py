"""Let what replaces NaN in the weights of an attention do so in its result, or go where nothing can be NaN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.fx import Graph, Node

from artifacts.weights import WeightStore
from passes.bodies import copied_graph, rewritten
from passes.contract import FunctionPass
from passes.program import Function
from passes.scales import scalars_of, unscaled

_aten = torch.ops.aten

_LOOKS = (
    _aten.permute.default,
    _aten.transpose.int,
    _aten.reshape.default,
    _aten.view.default,
)
"""Operators that give the same elements elsewhere: replacing some of them can wait until after."""


@dataclass(frozen=True)
class MoveNanGuards(FunctionPass):
    """p = softmax(s), where(isnan(p), 0, p) v  ->  o = p v, where(isnan(o), 0, o).

    Exporters of torch's attention write such a guard for rows that a mask hides whole. A row of `p` is NaN in all its
    elements or in none, so the row of the result is NaN where that of the weights was, as long as `v` is finite: there
    the guard is on fewer elements, and attention is a pattern again. Without a mask, where scores are a product and a
    scale alone, no row can be hidden, and the guard goes.
    """

    name: ClassVar[str] = "move-nan-guards"

    def rewrite_function(
        self, function: Function, weights: WeightStore
    ) -> tuple[Function, WeightStore, tuple[str, ...]]:
        graph, _ = copied_graph(function.body)
        scalars = scalars_of(function, weights)
        found = [match for node in graph.nodes if (match := _matched(node, scalars)) is not None]
        if not found:
            return function, weights, ()
        moved = [_moved(graph, match, scalars) for match in found]
        changed = rewritten(function, graph, function.weights, function.sources)
        return changed, weights, (f"guards moved: {sum(moved)}, dropped: {len(moved) - sum(moved)}",)


@dataclass(frozen=True, eq=False)
class _Guarded:
    """A product whose left factor is guarded: the softmax, and what takes the place of NaN."""

    product: Node
    weights: Node
    zero: Node


def _matched(node: Node, scalars: Mapping[str, float]) -> _Guarded | None:
    if node.target is not _aten.matmul.default:
        return None
    guard = node.args[0]
    if not isinstance(guard, Node) or guard.target is not _aten.where.self or set(guard.users) != {node}:
        return None
    test, zero, weights = guard.args
    if not all(isinstance(n, Node) for n in (test, zero, weights)):
        return None
    assert isinstance(test, Node)
    assert isinstance(zero, Node)
    assert isinstance(weights, Node)
    is_guard = test.target is _aten.isnan.default and test.args[0] is weights and scalars.get(zero.name) == 0
    rank = weights.meta["val"].dim()
    is_softmax = weights.target is _aten.softmax.int and weights.args[1] in (-1, rank - 1)
    return _Guarded(node, weights, zero) if is_guard and is_softmax else None


def _moved(graph: Graph, match: _Guarded, scalars: Mapping[str, float]) -> bool:
    """Take the guard from the weights, and put it behind the product if something could be NaN: whether it is there."""
    match.product.update_arg(0, match.weights)
    scores = match.weights.args[0]
    assert isinstance(scores, Node)
    if unscaled(scores, scalars)[0].target is _aten.matmul.default:
        return False
    last = match.product
    while len(last.users) == 1 and next(iter(last.users)).target in _LOOKS:
        (last,) = last.users
    with graph.inserting_after(last):
        test = graph.call_function(_aten.isnan.default, (last,))
    with graph.inserting_after(test):
        guarded = graph.call_function(_aten.where.self, (test, match.zero, last))
    with last.meta["val"].fake_mode:
        test.meta["val"] = torch.empty(last.meta["val"].shape, dtype=torch.bool)
        guarded.meta["val"] = torch.empty_like(last.meta["val"])
    last.replace_all_uses_with(guarded, delete_user_cb=lambda user: user not in (test, guarded))
    return True
