"""Make one operation of the attention of a step over what it keeps."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.fx import Graph, Node

from artifacts.weights import WeightStore
from passes.axis_maps import argument_of
from passes.bodies import copied_graph, rewritten
from passes.contract import FunctionPass
from passes.dialect import ATTENTION, CACHED_ATTENTION
from passes.program import Function
from passes.scales import scalars_of, unscaled
from passes.turns import unturned

_aten = torch.ops.aten

_VIEWS = (_aten.reshape.default, _aten.view.default)


@dataclass(frozen=True)
class FuseAttention(FunctionPass):
    """softmax(scale * q [past_k, k] + bias) [past_v, v]  ->  `unspool::cached_attention`, or `unspool::attention`.

    The pattern is of the computation, not of an exporter: keys and values [batch, heads, t, size] that a step is given,
    or that it appends to what it is given, in whatever way they are turned before they are multiplied, a scale before
    or after the product, at most one bias. Attention over what a function computes itself, of an encoder over its own
    rows for one, stays as it is: there the products are the time, and one operation gains nothing.
    """

    name: ClassVar[str] = "fuse-attention"

    def rewrite_function(
        self, function: Function, weights: WeightStore
    ) -> tuple[Function, WeightStore, tuple[str, ...]]:
        graph, _ = copied_graph(function.body)
        scalars = scalars_of(function, weights)
        found = [match for node in graph.nodes if (match := _matched(node, scalars)) is not None]
        if not found:
            return function, weights, ()
        sources = dict(function.sources)
        for match in found:
            fused = _fuse(graph, match)
            if match.result.name in function.sources:
                sources[fused.name] = function.sources[match.result.name]
        kept = rewritten(function, graph, function.weights, sources)
        return kept, weights, (f"attentions fused: {len(found)}",)


@dataclass(frozen=True, eq=False)
class _Kept:
    """Keys or values [batch, heads, time, size]: what a step is given, and what it adds behind it, if anything."""

    node: Node
    past: Node
    added: Node | None


@dataclass(frozen=True, eq=False)
class _Match:
    """What the pattern found; `result` is the last product."""

    result: Node
    query: Node
    keys: _Kept
    values: _Kept
    bias: Node | None
    scale: float


def _matched(node: Node, scalars: Mapping[str, float]) -> _Match | None:
    last = _product(node)
    values = None if last is None else _kept(last[1])
    if last is None or values is None or last[0].target is not _aten.softmax.int:
        return None
    weighted = last[0]
    scores = weighted.args[0]
    if argument_of(weighted, 1) not in (-1, 3) or not isinstance(scores, Node):
        return None
    for summand, bias in _summands(scores):
        bare, scale = unscaled(summand, scalars)
        product = _product(bare)
        if product is None:
            continue
        query, (base, order) = product[0], unturned(product[1])
        keys = _kept(base)
        if keys is not None and order == [0, 1, 3, 2] and (keys.added is None) == (values.added is None):
            match = _Match(node, query, keys, values, bias, scale)
            return match if _fits(match) else None
    return None


def _product(node: Node) -> tuple[Node, Node] | None:
    """The factors of a product of matrices [batch, heads, rows, columns]."""
    left, right = node.args[:2] if node.target is _aten.matmul.default else (None, None)
    is_product = isinstance(left, Node) and isinstance(right, Node) and _rank(left) == _rank(right) == 4
    return (left, right) if is_product else None  # type: ignore[return-value]  # both are nodes then


def _kept(node: Node) -> _Kept | None:
    if node.op == "placeholder" and _rank(node) == 4:
        return _Kept(node, node, None)
    if node.target is not _aten.cat.default or _rank(node) != 4 or node.args[1:] not in ((2,), (-2,)):
        return None
    parts = node.all_input_nodes
    return _Kept(node, *parts) if len(parts) == 2 and parts[0].op == "placeholder" else None


def _summands(scores: Node) -> Iterator[tuple[Node, Node | None]]:
    """The scores as they are, and as a sum of scores and a bias."""
    yield scores, None
    if scores.target is _aten.add.Tensor and not scores.kwargs:
        one, other = scores.args
        if isinstance(one, Node) and isinstance(other, Node):
            yield one, other
            yield other, one


def _fits(match: _Match) -> bool:
    """True for sizes and types that the operation takes: rows that are a number, and the same heads everywhere."""
    operands = [match.query.meta["val"], match.keys.node.meta["val"], match.values.node.meta["val"]]
    bias = None if match.bias is None else match.bias.meta["val"]
    if any(value.dtype is not torch.float32 for value in (*operands, *([] if bias is None else [bias]))):
        return False
    _, heads, rows, size = operands[0].shape
    if not all(isinstance(number, int) for number in (heads, rows, size)):
        return False
    alike = all((value.shape[1], value.shape[3]) == (heads, size) for value in operands)
    alike = alike and len({str(value.shape[0]) for value in (*operands, match.result.meta["val"])}) == 1
    scores = [str(rows), str(operands[1].shape[2])]
    return alike and (bias is None or (2 <= bias.dim() <= 4 and [str(s) for s in bias.shape[-2:]] == scores))


def _fuse(graph: Graph, match: _Match) -> Node:
    """Put the operation before the last product, in whose place its result goes. Dead code is left behind."""

    def call(target: Any, *args: Any) -> Node:
        node = graph.call_function(target, args)
        given = torch.fx.map_arg(args, lambda n: n.meta["val"])
        with match.result.meta["val"].fake_mode:
            node.meta["val"] = target(*given)
        return node

    def rows(node: Node) -> Node:
        """[batch, heads, rows, size] as [batch, rows, heads * size]: what the heads were made of, if it was that."""
        _, heads, count, size = node.meta["val"].shape
        base, order = unturned(node)
        if order == [0, 2, 1, 3] and base.target in _VIEWS:
            whole = base.all_input_nodes[0]
            shape = whole.meta["val"].shape
            if (
                len(shape) == 3
                and str(shape[0]) == str(node.meta["val"].shape[0])
                and shape[1:] == (count, heads * size)
            ):
                return whole
        return call(_aten.reshape.default, call(_aten.permute.default, node, [0, 2, 1, 3]), [-1, count, heads * size])

    keys, values = match.keys, match.values
    _, heads, count, size = match.result.meta["val"].shape
    with graph.inserting_before(match.result):
        bias = match.bias
        while bias is not None and _rank(bias) < 4:
            bias = call(_aten.unsqueeze.default, bias, 0)
        query = rows(match.query)
        if keys.added is None or values.added is None:
            fused = out = call(ATTENTION, query, keys.node, values.node, bias, match.scale)
        else:
            operands = (query, rows(keys.added), rows(values.added), keys.past, values.past)
            fused = call(CACHED_ATTENTION, *operands, bias, match.scale)
            out, *presents = (call(operator.getitem, fused, i) for i in range(3))
            for kept, present in zip((keys, values), presents, strict=True):
                kept.node.replace_all_uses_with(present, delete_user_cb=lambda user: user.op == "output")
        apart = call(_aten.reshape.default, out, [-1, count, heads, size])
        turned = call(_aten.permute.default, apart, [0, 2, 1, 3])
    for merged in list(_merged(match.result, out)):
        merged.replace_all_uses_with(out)
    match.result.replace_all_uses_with(turned)
    return fused


def _merged(result: Node, out: Node) -> Iterator[Node]:
    """Users of the result that put its heads side by side, which is how the operation gives them."""
    shape = [str(size) for size in out.meta["val"].shape]
    for turn in list(result.users):
        base, order = unturned(turn)
        if base is result and order == [0, 2, 1, 3]:
            for user in list(turn.users):
                if user.target in _VIEWS and [str(size) for size in user.meta["val"].shape] == shape:
                    yield user


def _rank(node: Node) -> int:
    rank: int = node.meta["val"].dim()
    return rank
