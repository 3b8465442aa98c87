"""How the axes of an operator's result come from those of its operands.

An entry of an axis map says, for one axis of an operand, which axis of the result runs along it: element i of the
result needs element i of the operand and no other. `WHOLE` says that an element of the result may need all of the
operand along that axis, `LAST` that it needs the last one only. A size of one that is broadcast runs along its axis
too. An operator without a rule needs all its operands whole, which is right for any operator, and slow. Reshapes and
what makes positions out of their number are read where the axes of time are known, in step_builder.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import torch
from torch.fx import Node

from passes.graph_builder import values_of

_aten = torch.ops.aten

WHOLE: Final = -1
LAST: Final = -2

Axes: TypeAlias = tuple[int, ...]
"""For each axis of an operand, an axis of the result, WHOLE or LAST."""


@dataclass(frozen=True, eq=False)
class AxisMap:
    """The axes of each operand that is a tensor, and the axes of the result along which it repeats one element."""

    operands: Mapping[Node, Axes]
    repeats: frozenset[int] = field(default=frozenset())


def axis_map(node: Node) -> AxisMap:
    """The map of a node that computes tensors."""
    rule = _RULES.get(node.target)
    if rule is None:
        pointwise = isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags
        rule = _broadcast if pointwise else _whole
    return rule(node)


def _whole(node: Node) -> AxisMap:
    return AxisMap({n: (WHOLE,) * _rank(n) for n in node.all_input_nodes if values_of(n)})


def _broadcast(node: Node) -> AxisMap:
    rank = _rank(node)
    tensors = [n for n in node.all_input_nodes if values_of(n)]
    return AxisMap({n: tuple(range(rank - _rank(n), rank)) for n in tensors})


def _same(node: Node) -> AxisMap:
    operand = node.all_input_nodes[0]
    return AxisMap({operand: tuple(range(_rank(operand)))})


def _along(*positions: int) -> Callable[[Node], AxisMap]:
    """An operator along the axes in those arguments, which the result keeps; the other arguments are weights."""

    def rule(node: Node) -> AxisMap:
        operand = _tensor(node, 0)
        dims = {dim % _rank(operand) for position in positions for dim in _ints(argument_of(node, position))}
        return AxisMap({operand: tuple(WHOLE if a in dims else a for a in range(_rank(operand)))})

    return rule


def _normalization(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    rank, count = _rank(operand), len(_ints(argument_of(node, 1)))
    axes = {operand: tuple(WHOLE if a >= rank - count else a for a in range(rank))}
    return AxisMap(axes | {n: (WHOLE,) * _rank(n) for n in node.all_input_nodes if n is not operand and values_of(n)})


def _reduction(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    rank = _rank(operand)
    dims = argument_of(node, 1)
    reduced = set(range(rank)) if dims is None or dims == [] else {d % rank for d in _ints(dims)}
    keeps = _rank(node) == rank
    axes, at = [], 0
    for axis in range(rank):
        axes.append(WHOLE if axis in reduced else at)
        at += axis not in reduced or keeps
    return AxisMap({operand: tuple(axes)})


def _matmul(node: Node) -> AxisMap:
    left, right = _tensor(node, 0), _tensor(node, 1)
    rank, ranks = _rank(node), (_rank(left), _rank(right))
    rows, columns = ranks[0] > 1, ranks[1] > 1
    batch = rank - rows - columns  # axes of the result before those of the product
    left_axes = (*range(batch - max(ranks[0] - 2, 0), batch), *([batch] if rows else []), WHOLE)
    right_axes = (*range(batch - max(ranks[1] - 2, 0), batch), WHOLE, *([rank - 1] if columns else []))
    return _merged((left, left_axes), (right, right_axes))


def _linear(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    others = [n for n in node.all_input_nodes if n is not operand]
    return _merged((operand, (*range(_rank(operand) - 1), WHOLE)), *((n, (WHOLE,) * _rank(n)) for n in others))


def _added_product(node: Node) -> AxisMap:
    """`addmm` and `baddbmm`: something that is broadcast, plus a product of matrices."""
    bias, left, right = (_tensor(node, i) for i in range(3))
    rank = _rank(node)
    batch = tuple(range(rank - 2))
    return _merged(
        (bias, tuple(range(rank - _rank(bias), rank))),
        (left, (*batch, rank - 2, WHOLE)),
        (right, (*batch, WHOLE, rank - 1)),
    )


def _einsum(node: Node) -> AxisMap:
    equation, operands = str(node.args[0]).replace(" ", ""), node.args[1]
    assert isinstance(operands, (list, tuple))
    inputs, _, output = equation.partition("->")
    if "." in equation or not output:
        return _whole(node)
    found = [
        (n, tuple(output.index(label) if label in output else WHOLE for label in labels))
        for n, labels in zip(operands, inputs.split(","), strict=True)
        if isinstance(n, Node)
    ]
    return _merged(*found)


def _attention(node: Node) -> AxisMap:
    """Scaled dot products: queries are rows, keys and values are needed whole, and a mask has both as its axes."""
    query, key, value = (_tensor(node, i) for i in range(3))
    rank = _rank(node)
    batch = tuple(range(rank - 2))
    found = [(query, (*batch, rank - 2, WHOLE)), (key, (*batch, WHOLE, WHOLE)), (value, (*batch, WHOLE, rank - 1))]
    mask = argument_of(node, 3)
    if isinstance(mask, Node):
        found.append((mask, (*range(rank - _rank(mask), rank - 1), WHOLE)))
    return _merged(*found)


def _concatenation(node: Node) -> AxisMap:
    joined = argument_of(node, 1, 0) % _rank(node)
    tensors = dict.fromkeys(node.all_input_nodes)
    return AxisMap({n: tuple(WHOLE if a == joined else a for a in range(_rank(n))) for n in tensors if values_of(n)})


def _stack(node: Node) -> AxisMap:
    joined = argument_of(node, 1, 0) % _rank(node)
    tensors = dict.fromkeys(node.all_input_nodes)
    return AxisMap({n: tuple(a + (a >= joined) for a in range(_rank(n))) for n in tensors if values_of(n)})


def _split(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    cut = argument_of(node, 2, 0) % _rank(operand)
    return AxisMap({operand: tuple(WHOLE if a == cut else a for a in range(_rank(operand)))})


def _unbind(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    return AxisMap({operand: _without(_rank(operand), argument_of(node, 1, 0), WHOLE)})


def _select(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    return AxisMap(
        {operand: _without(_rank(operand), argument_of(node, 1), LAST if argument_of(node, 2) == -1 else WHOLE)}
    )


def _slice(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    cut = argument_of(node, 1, 0) % _rank(operand)
    start = argument_of(node, 2, 0)
    size, before = values_of(node)[0].shape[cut], values_of(operand)[0].shape[cut]
    cuts_nothing = str(size) == str(before)
    along = cut if cuts_nothing else LAST if start == -1 else WHOLE
    return AxisMap({operand: tuple(along if a == cut else a for a in range(_rank(operand)))})


def _permute(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    rank = _rank(operand)
    order = [d % rank for d in _ints(argument_of(node, 1))]
    return AxisMap({operand: tuple(order.index(axis) for axis in range(rank))})


def _transpose(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    axes = list(range(_rank(operand)))
    first, second = (int(argument_of(node, i)) % len(axes) for i in (1, 2))
    axes[first], axes[second] = axes[second], axes[first]
    return AxisMap({operand: tuple(axes)})


def _matrix_transpose(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    return AxisMap({operand: tuple(reversed(range(_rank(operand))))})


def _unsqueeze(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    new = argument_of(node, 1) % _rank(node)
    return AxisMap({operand: tuple(a + (a >= new) for a in range(_rank(operand)))})


def _squeeze(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    rank = _rank(operand)
    dropped = {d % rank for d in _ints(argument_of(node, 1))} if len(node.args) > 1 else set(range(rank))
    dropped = {d for d in dropped if values_of(operand)[0].shape[d] == 1}
    axes, at = [], 0
    for axis in range(rank):
        axes.append(WHOLE if axis in dropped else at)
        at += axis not in dropped
    return AxisMap({operand: tuple(axes)})


def _expand(node: Node) -> AxisMap:
    operand = _tensor(node, 0)
    rank, before = _rank(node), values_of(operand)[0].shape
    new = rank - len(before)
    repeated = {new + a for a, size in enumerate(before) if str(size) != str(values_of(node)[0].shape[new + a])}
    return AxisMap({operand: tuple(range(new, rank))}, frozenset(range(new)) | repeated)


def _repeat(node: Node) -> AxisMap:
    """A size of one that is repeated is broadcast; elements of a longer axis come again further on."""
    operand = _tensor(node, 0)
    times, before = node.args[1], values_of(operand)[0].shape
    assert isinstance(times, (list, tuple))
    new = len(times) - len(before)
    alone = {new + a for a, size in enumerate(before) if size == 1}
    again = {axis for axis, count in enumerate(times) if count != 1}
    axes = tuple(WHOLE if axis in again - alone else axis for axis in range(new, len(times)))
    return AxisMap({operand: axes}, frozenset(range(new)) | (again & alone))


def _fill(node: Node) -> AxisMap:
    return AxisMap(
        {n: (WHOLE,) * _rank(n) for n in node.all_input_nodes if values_of(n)}, frozenset(range(_rank(node)))
    )


def _like(node: Node) -> AxisMap:
    return AxisMap(_same(node).operands, frozenset(range(_rank(node))))


def _index(node: Node) -> AxisMap:
    """Indices that stand together replace their axes by their own; elsewhere the axes of the operand stay."""
    operand, indices = _tensor(node, 0), node.args[1]
    assert isinstance(indices, (list, tuple))
    positions = [p for p, index in enumerate(indices) if index is not None]
    tensors = [index for index in indices if isinstance(index, Node)]
    count = max(_rank(index) for index in tensors)
    together = positions == list(range(positions[0], positions[-1] + 1))
    first = positions[0] if together else 0
    axes, at = [], 0 if together else count
    for axis in range(_rank(operand)):
        if axis in positions:
            axes.append(WHOLE)
            at += count if together and axis == positions[-1] else 0
        else:
            axes.append(at)
            at += 1
    found = [(index, tuple(range(first + count - _rank(index), first + count))) for index in tensors]
    return _merged((operand, tuple(axes)), *found)


def _embedding(node: Node) -> AxisMap:
    table, ids = _tensor(node, 0), _tensor(node, 1)
    return _merged((table, (WHOLE, _rank(ids))), (ids, tuple(range(_rank(ids)))))


def _gather(node: Node) -> AxisMap:
    operand, index = _tensor(node, 0), _tensor(node, 2)
    along = argument_of(node, 1) % _rank(operand)
    axes = range(_rank(operand))
    return _merged((operand, tuple(WHOLE if a == along else a for a in axes)), (index, tuple(axes)))


def _index_select(node: Node) -> AxisMap:
    operand, index = _tensor(node, 0), _tensor(node, 2)
    along = argument_of(node, 1) % _rank(operand)
    axes = tuple(WHOLE if a == along else a for a in range(_rank(operand)))
    return _merged((operand, axes), (index, (along,)))


def _merged(*operands: tuple[Node, Axes]) -> AxisMap:
    """One entry a node; one that stands in two places runs along an axis only if it does so in both."""
    found: dict[Node, Axes] = {}
    for node, axes in operands:
        known = found.get(node, axes)
        found[node] = tuple(a if a == b else WHOLE for a, b in zip(known, axes, strict=True))
    return AxisMap(found)


def _without(rank: int, dropped: int, instead: int) -> Axes:
    dropped %= rank
    return tuple(instead if a == dropped else a - (a > dropped) for a in range(rank))


def _rank(node: Node) -> int:
    return values_of(node)[0].dim()


def _tensor(node: Node, position: int) -> Node:
    found = node.args[position]
    assert isinstance(found, Node)
    return found


def argument_of(node: Node, position: int, default: Any = None) -> Any:
    """An argument by its place in the operator's schema, however it was given."""
    if position < len(node.args):
        return node.args[position]
    assert isinstance(node.target, torch._ops.OpOverload)
    return node.kwargs.get(node.target._schema.arguments[position].name, default)


def _ints(value: Any) -> list[int]:
    return [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]


_RULES: Mapping[Any, Callable[[Node], AxisMap]] = {
    **dict.fromkeys(
        (
            _aten.to.dtype,
            _aten._to_copy.default,
            _aten.clone.default,
            _aten.alias.default,
            _aten.detach.default,
            _aten.dropout.default,
            torch.ops.unspool.require.default,
        ),
        _same,
    ),
    **dict.fromkeys(
        (_aten.masked_fill.Tensor, _aten.where.Scalar, _aten.where.ScalarOther, _aten.where.ScalarSelf), _broadcast
    ),
    **dict.fromkeys(
        (_aten.softmax.int, _aten.log_softmax.int, _aten._softmax.default, _aten.cumsum.default), _along(1)
    ),
    **dict.fromkeys((_aten.layer_norm.default, _aten.rms_norm.default), _normalization),
    **dict.fromkeys(
        (
            _aten.mean.dim,
            _aten.sum.dim_IntList,
            _aten.amax.default,
            _aten.amin.default,
            _aten.prod.dim_int,
            _aten.any.dim,
            _aten.all.dim,
            _aten.argmax.default,
            _aten.argmin.default,
            _aten.logsumexp.default,
        ),
        _reduction,
    ),
    **dict.fromkeys((_aten.matmul.default, _aten.mm.default, _aten.bmm.default), _matmul),
    _aten.linear.default: _linear,
    **dict.fromkeys((_aten.addmm.default, _aten.baddbmm.default), _added_product),
    _aten.einsum.default: _einsum,
    _aten.scaled_dot_product_attention.default: _attention,
    _aten.cat.default: _concatenation,
    _aten.stack.default: _stack,
    **dict.fromkeys((_aten.split_with_sizes.default, _aten.split.Tensor, _aten.chunk.default), _split),
    _aten.unbind.int: _unbind,
    _aten.select.int: _select,
    _aten.slice.Tensor: _slice,
    _aten.permute.default: _permute,
    _aten.transpose.int: _transpose,
    **dict.fromkeys((_aten.t.default, _aten.numpy_T.default), _matrix_transpose),
    _aten.unsqueeze.default: _unsqueeze,
    **dict.fromkeys((_aten.squeeze.dim, _aten.squeeze.dims, _aten.squeeze.default), _squeeze),
    _aten.expand.default: _expand,
    _aten.repeat.default: _repeat,
    **dict.fromkeys((_aten.full.default, _aten.zeros.default, _aten.ones.default), _fill),
    **dict.fromkeys((_aten.zeros_like.default, _aten.ones_like.default, _aten.full_like.default), _like),
    _aten.index.Tensor: _index,
    _aten.embedding.default: _embedding,
    _aten.gather.default: _gather,
    _aten.index_select.default: _index_select,
}
