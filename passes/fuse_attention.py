"""Make one operation of the attention of a step over what it keeps."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch.fx import Graph, Node

from artifacts.weights import WeightStore
from passes.axis_maps import argument_of
from passes.bodies import copied_graph, edited
from passes.contract import FunctionPass
from passes.dialect import CACHED_ATTENTION
from passes.program import Function
from passes.torch_dtypes import from_numpy

_aten = torch.ops.aten

_VIEWS = (_aten.reshape.default, _aten.view.default)
_SCALES: Mapping[Any, tuple[int, ...]] = {_aten.mul.Tensor: (1, -1), _aten.div.Tensor: (1,)}
"""Operators that scale, and in which orders of their operands the second may be the number."""

_TURNS = (_aten.permute.default, _aten.transpose.int)


@dataclass(frozen=True)
class FuseAttention(FunctionPass):
    """softmax(scale * q [past_k, k] + bias) [past_v, v]  ->  `unspool::cached_attention`.

    The pattern is of the computation, not of an exporter: keys and values [batch, heads, t, size] that a step appends
    to what it is given, in whatever way they are turned before they are multiplied, a scale before or after the
    product, at most one bias. Attention over anything else, over the encoder's memory too, stays as it is.
    """

    name: ClassVar[str] = "fuse-attention"

    def rewrite_function(
        self, function: Function, weights: WeightStore
    ) -> tuple[Function, WeightStore, tuple[str, ...]]:
        graph, _ = copied_graph(function.body)
        scalars = _scalars(function, weights)
        found = [match for node in graph.nodes if (match := _matched(node, scalars)) is not None]
        if not found:
            return function, weights, ()
        sources = dict(function.sources)
        for match in found:
            fused = _fuse(graph, match)
            if match.result.name in function.sources:
                sources[fused.name] = function.sources[match.result.name]
        graph.eliminate_dead_code()
        for node in [n for n in graph.nodes if n.name in function.weights and not n.users]:
            graph.erase_node(node)
        names = {node.name for node in graph.nodes}
        kept = replace(
            function,
            body=edited(function.body, graph),
            weights={name: ref for name, ref in function.weights.items() if name in names},
            sources={name: source for name, source in sources.items() if name in names},
        )
        return kept, weights, (f"attentions fused: {len(found)}",)


@dataclass(frozen=True, eq=False)
class _Kept:
    """What a step is given, with what it adds behind it: [batch, heads, time, size]."""

    node: Node
    past: Node
    added: Node


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
        unscaled, scale = _unscaled(summand, scalars)
        product = _product(unscaled)
        if product is None:
            continue
        query, (base, order) = product[0], _unturned(product[1])
        keys = _kept(base)
        if keys is not None and order == [0, 1, 3, 2]:
            match = _Match(node, query, keys, values, bias, scale)
            return match if _fits(match) else None
    return None


def _product(node: Node) -> tuple[Node, Node] | None:
    """The factors of a product of matrices [batch, heads, rows, columns]."""
    left, right = node.args[:2] if node.target is _aten.matmul.default else (None, None)
    is_product = isinstance(left, Node) and isinstance(right, Node) and _rank(left) == _rank(right) == 4
    return (left, right) if is_product else None  # type: ignore[return-value]  # both are nodes then


def _kept(node: Node) -> _Kept | None:
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


def _unscaled(node: Node, scalars: Mapping[str, float]) -> tuple[Node, float]:
    """What is multiplied with numbers, and their product."""
    scale = 1.0
    while (found := _scaled(node, scalars)) is not None:
        node, factor = found
        scale *= factor
    return node, scale


def _scaled(node: Node, scalars: Mapping[str, float]) -> tuple[Node, float] | None:
    """What a node multiplies with a number, and the number."""
    for scaled, by in (node.args[::order] for order in _SCALES.get(node.target, ())):
        number = scalars.get(by.name) if isinstance(by, Node) else by
        if isinstance(scaled, Node) and isinstance(number, (int, float)) and number:
            return scaled, number if node.target is _aten.mul.Tensor else 1 / number
    return None


def _unturned(node: Node) -> tuple[Node, list[int]]:
    """What a node is a permutation of, and its axes in the order in which the node has them."""
    order = list(range(_rank(node)))
    while node.target in _TURNS:
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
        base, order = _unturned(node)
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
        operands = (rows(match.query), rows(keys.added), rows(values.added), keys.past, values.past)
        fused = call(CACHED_ATTENTION, *operands, bias, match.scale)
        out, *presents = (call(operator.getitem, fused, i) for i in range(3))
        apart = call(_aten.reshape.default, out, [-1, count, heads, size])
        turned = call(_aten.permute.default, apart, [0, 2, 1, 3])
    for kept, present in zip((keys, values), presents, strict=True):
        kept.node.replace_all_uses_with(present, delete_user_cb=lambda user: user.op == "output")
    for merged in list(_merged(match.result, out)):
        merged.replace_all_uses_with(out)
    match.result.replace_all_uses_with(turned)
    return fused


def _merged(result: Node, out: Node) -> Iterator[Node]:
    """Users of the result that put its heads side by side, which is how the operation gives them."""
    shape = [str(size) for size in out.meta["val"].shape]
    for turn in list(result.users):
        base, order = _unturned(turn)
        if base is result and order == [0, 2, 1, 3]:
            for user in list(turn.users):
                if user.target in _VIEWS and [str(size) for size in user.meta["val"].shape] == shape:
                    yield user


def _rank(node: Node) -> int:
    rank: int = node.meta["val"].dim()
    return rank


def _scalars(function: Function, weights: WeightStore) -> dict[str, float]:
    """The weights that are one number, by name."""
    small = {name: ref for name, ref in function.weights.items() if ref.size == 1}
    return {name: from_numpy(weights.array(ref), ref.dtype).item() for name, ref in small.items()}
