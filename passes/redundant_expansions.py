"""Repetitions that are written out although what takes them repeats by itself."""

from __future__ import annotations

from collections.abc import Sequence

import sympy
import torch
from torch.fx import Node

from passes.axis_maps import argument_of
from passes.graph_editor import GraphEditor, is_tensor

_aten = torch.ops.aten


def without_expansion(editor: GraphEditor, node: Node) -> Node | None:
    """An expansion to the shape that is there goes, and one of an expansion is one."""
    if node.target is not _aten.expand.default:
        return None
    operand = node.all_input_nodes[0]
    if editor.sizes(operand) == editor.sizes(node):
        return operand
    if operand.target is not _aten.expand.default or operand in editor.kept:
        return None
    wanted, before = list(argument_of(node, 1)), list(argument_of(operand, 1))
    # A size of -1 is the operand's, which has it from its own argument in the same place from the right.
    for place in range(1, len(before) + 1):
        if isinstance(wanted[-place], int) and wanted[-place] == -1:
            wanted[-place] = before[-place]
    return editor.put(node, _aten.expand.default, (operand.all_input_nodes[0], wanted))


def with_broadcasting(editor: GraphEditor, node: Node) -> bool:
    """Let an operator that repeats its operands by itself do so; true if that changed it.

    That is what works on one element at a time, and a look-up with several indices. An operand that is looked up by a
    repeated index is looked up once, and repeated by what takes it.
    """
    repeated = _repeated_operands(node)
    if not repeated or node in editor.kept:
        return False
    shape = broadcast([editor.sizes(n) for n in repeated])
    changed = False
    for operand in dict.fromkeys(repeated):
        small = _small_shape(editor, operand)
        shapes = [editor.sizes(n) if n is not operand else small for n in repeated]
        if small is None or shape is None or not _keeps_type(repeated, small):
            continue
        if broadcast([s for s in shapes if s is not None]) == shape:
            made = _small(editor, operand)
            node.replace_input_with(operand, made)
            repeated = [made if n is operand else n for n in repeated]
            changed = True
    return changed


def _repeated_operands(node: Node) -> list[Node]:
    """The operands that an operator repeats until they have one shape."""
    if is_elementwise(node):
        return [n for n in node.all_input_nodes if is_tensor(n)]
    if node.target is not _aten.index.Tensor:
        return []
    table, indices = node.args[:2]
    assert isinstance(indices, (list, tuple))
    return [n for n in indices if isinstance(n, Node) and n is not table]


def _small_shape(editor: GraphEditor, operand: Node) -> tuple[sympy.Expr, ...] | None:
    """The shape of an operand before it was repeated, None if it was not."""
    if operand.target is _aten.expand.default:
        return editor.sizes(operand.all_input_nodes[0])
    index = _only_index(operand)
    if index is None or index.target is not _aten.expand.default or len(operand.users) > 1 or operand in editor.kept:
        return None
    return (*editor.sizes(index.all_input_nodes[0]), *editor.sizes(operand.all_input_nodes[0])[1:])


def _small(editor: GraphEditor, operand: Node) -> Node:
    """The operand before it was repeated."""
    index = _only_index(operand)
    if index is None:
        return operand.all_input_nodes[0]
    table, few = operand.all_input_nodes[0], index.all_input_nodes[0]
    shape = [*few.meta["val"].shape, *table.meta["val"].shape[1:]]
    return editor.put(operand, _aten.index.Tensor, (table, [few]), shape)


def _only_index(node: Node) -> Node | None:
    """The index of a look-up of rows."""
    if node.target is not _aten.index.Tensor:
        return None
    table, indices = node.args[:2]
    assert isinstance(indices, (list, tuple))
    index = indices[0] if len(indices) == 1 else None
    return index if isinstance(index, Node) and index is not table else None


def is_elementwise(node: Node) -> bool:
    """True for an operator that computes each element of its result from one element of each operand."""
    if not isinstance(node.target, torch._ops.OpOverload) or not is_tensor(node):
        return False
    return torch.Tag.pointwise in node.target.tags and torch.Tag.nondeterministic_seeded not in node.target.tags


def broadcast(shapes: Sequence[Sequence[sympy.Expr]]) -> tuple[sympy.Expr, ...] | None:
    """The shape that operands of these shapes have together, None if that is not certain."""
    rank = max(map(len, shapes))
    found = []
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in shapes if len(shape) >= -axis} - {sympy.Integer(1)}
        if len(sizes) > 1:
            return None
        found.append(next(iter(sizes), sympy.Integer(1)))
    return tuple(found)


def _keeps_type(operands: Sequence[Node], small: Sequence[sympy.Expr]) -> bool:
    """True unless an operand becomes a number, which has less say in the type of the result than a tensor has."""
    return len(small) > 0 or len({operand.meta["val"].dtype for operand in operands}) == 1
