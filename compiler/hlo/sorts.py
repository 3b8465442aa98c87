"""Which sorts have a form in HLO: those of few elements, and those of which only the first few are used."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.fx import Node

from passes.axis_maps import argument_of

_aten = torch.ops.aten

_AXIS: Mapping[Any, int] = {_aten.sort.stable: 2, _aten.sort.default: 1}
"""Where among its arguments a sort's axis is."""

SORTS = frozenset(_AXIS)

MOST_ROUNDS = 32
"""So many of the first are looked for one after the other: a dozen instructions each, and the number has a limit."""

MOST_COMPARED = 256
"""Of so many elements all pairs are compared."""


def refusal(size: int, count: int) -> str | None:
    """Why the first elements of so many have no form, None if they have one."""
    if count <= MOST_ROUNDS or size <= MOST_COMPARED:
        return None
    return (
        f"the first {count} of {size} elements: at most {MOST_ROUNDS} are looked for, or {MOST_COMPARED} sorted, "
        "and the compiler documents no sort [NCC_EVRF001]"
    )


def refused(node: Node) -> str | None:
    """Why a sort has no form, as far as the graph knows its size."""
    if node.target not in SORTS:
        return None
    value = _operand(node).meta["val"]
    if not value.dim():
        return None
    size, count = value.shape[argument_of(node, _AXIS[node.target], -1)], used_count(node)
    return refusal(size, size if count is None else min(count, size)) if isinstance(size, int) else None


def used_count(node: Node) -> int | None:
    """How many of the first elements of a sort are all that is taken of its results; None if it is not known."""
    counts = [_cut(user) for result in node.users for user in _takers(result)]
    return None if not counts or None in counts else max(filter(None, counts), default=0)


def _takers(result: Node) -> Iterator[Node | None]:
    """Whoever takes a result; None if something else than an index picks it."""
    yield from result.users if result.target is operator.getitem else (None,)


def _cut(user: Node | None) -> int | None:
    if user is None or user.target not in {_aten.narrow.default, _aten.slice.Tensor}:
        return None
    sort = _operand(_operand(user))  # through a getitem
    rank, axis = _operand(sort).meta["val"].dim(), argument_of(sort, _AXIS[sort.target], -1)
    begin, end = argument_of(user, 2, 0), argument_of(user, 3)
    step = argument_of(user, 4, 1) if user.target is _aten.slice.Tensor else 1
    is_first = not begin and step == 1 and isinstance(end, int) and end >= 0
    return end if is_first and argument_of(user, 1, 0) % rank == axis % rank else None


def _operand(node: Node) -> Node:
    first = node.args[0]
    assert isinstance(first, Node)
    return first
