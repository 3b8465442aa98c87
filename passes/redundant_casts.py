"""Casts that change nothing, and casts of casts whose values one cast gives."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch.fx import Node

from passes.graph_editor import GraphEditor, is_tensor

_aten = torch.ops.aten

CASTS = frozenset({_aten.to.dtype, _aten._to_copy.default})

_ORDERS = (
    (torch.bool, torch.uint8, torch.int16, torch.int32, torch.int64),
    (torch.int8, torch.int16, torch.int32, torch.int64),
    (torch.uint8, torch.float16, torch.float32, torch.float64),
    (torch.int8, torch.float16, torch.float32, torch.float64),
    (torch.int16, torch.float32, torch.float64),
    (torch.int32, torch.float64),
    (torch.bfloat16, torch.float32, torch.float64),
    (torch.bool, torch.int8, torch.bfloat16),
    (torch.bool, torch.uint8, torch.bfloat16),
)
"""Types of which each holds all values of those before it."""

_WIDER: Mapping[torch.dtype, frozenset[torch.dtype]] = {
    dtype: frozenset(
        wider
        for order in _ORDERS
        for narrow, wider in itertools.combinations(order, 2)
        if narrow is dtype or (dtype is torch.bool and narrow is torch.uint8)
    )
    for order in _ORDERS
    for dtype in order
}


def is_exact(narrow: torch.dtype, wide: torch.dtype) -> bool:
    """True if every value of one type is a value of the other."""
    return narrow == wide or wide in _WIDER.get(narrow, ())


def without_cast(editor: GraphEditor, node: Node) -> Node | None:
    """A cast to the type that is there goes, and so does the first of two that loses nothing on the way."""
    if not _is_cast(node):
        return None
    operand = node.all_input_nodes[0]
    if _dtype(operand) == _dtype(node):
        return operand
    if not _is_cast(operand) or operand in editor.kept:
        return None
    first = operand.all_input_nodes[0]
    types = _dtype(first), _dtype(operand), _dtype(node)
    if not is_exact(types[0], types[1]) or not _is_same_alone(*types):
        return None
    return first if types[0] == types[2] else editor.put(node, _aten.to.dtype, (first, types[2]))


def _is_same_alone(first: torch.dtype, middle: torch.dtype, last: torch.dtype) -> bool:
    """True if a cast from the first type to the last gives what it gives by way of one that holds all values.

    Between types of different kinds what is out of range is not defined: there the last has to hold all values too.
    """
    kinds = {dtype.is_floating_point for dtype in (first, middle, last)}
    return is_exact(first, last) or (len(kinds) == 1 and torch.bool not in (first, middle, last))


def _is_cast(node: Node) -> bool:
    if node.target not in CASTS or not is_tensor(node) or len(node.args) > 2:
        return False
    return set(node.kwargs) <= {"dtype"}


def _dtype(node: Node) -> torch.dtype:
    dtype: torch.dtype = node.meta["val"].dtype
    return dtype
