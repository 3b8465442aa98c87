"""What is joined only to be taken apart again, and what is taken apart only to be joined."""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch.fx import Node

from passes.axis_maps import argument_of
from passes.graph_editor import GraphEditor, is_tensor, rank_of
from passes.redundant_views import seen_through

_aten = torch.ops.aten

_SPLITS = (_aten.split_with_sizes.default, _aten.split.Tensor)

PIECES = frozenset(
    {
        *_SPLITS,
        *(_aten.slice.Tensor, _aten.select.int, _aten.narrow.default, _aten.unbind.int, _aten.chunk.default),
    }
)
"""Operators that give some of the elements of their operand, or all of them in pieces."""

_END = sys.maxsize


def without_slice_of_slice(editor: GraphEditor, node: Node) -> Node | None:
    """Slices along one axis are one slice, where their bounds can be added up without knowing a size."""
    inner = node.all_input_nodes[0] if node.target is _aten.slice.Tensor else node
    if inner is node or inner.target is not _aten.slice.Tensor or inner in editor.kept:
        return None
    axis, start, end = _bounds(node)
    earlier_axis, earlier_start, earlier_end = _bounds(inner)
    if axis != earlier_axis or axis is None:
        return None
    if not isinstance(start, int) or not isinstance(earlier_start, int) or min(start, earlier_start) < 0:
        return None
    if end == _END:
        bound = earlier_end
    elif not isinstance(end, int) or end < 0:
        return None
    elif earlier_end == _END:
        bound = earlier_start + end
    elif isinstance(earlier_end, int) and earlier_end >= 0:
        bound = min(earlier_end, earlier_start + end)
    else:
        return None
    return editor.put(node, _aten.slice.Tensor, (inner.all_input_nodes[0], axis, earlier_start + start, bound))


def piece_of_joined(editor: GraphEditor, node: Node) -> Node | None:
    """A piece of a concatenation that is one of its operands, or a part of one, or some of them, is that."""
    piece = _piece(editor, node)
    if piece is None or piece.base in editor.kept:
        return None
    operands = _joined(piece.base, piece.axis)
    if operands is None:
        return None
    bounds = [sympy.Integer(0)]
    for operand in operands:
        bounds.append(bounds[-1] + editor.sizes(operand)[piece.axis])
    if piece.start in bounds and piece.end in bounds:
        first, last = bounds.index(piece.start), len(bounds) - 1 - bounds[::-1].index(piece.end)
        if last - first == 1:
            return _picked(editor, node, operands[first], piece.axis)
        if last - first > 1 and len(piece.base.users) == 1 and node.target is _aten.slice.Tensor:
            return editor.put(node, _aten.cat.default, (operands[first:last], piece.axis))
    return _inside(editor, node, piece, operands, bounds)


def element_of_stack(editor: GraphEditor, node: Node) -> Node | None:
    """One of the tensors of a stack is that tensor."""
    piece = _piece(editor, node)
    if piece is None or piece.base.target is not _aten.stack.default or rank_of(node) == rank_of(piece.base):
        return None
    if argument_of(piece.base, 1, 0) % rank_of(piece.base) != piece.axis or not piece.start.is_Integer:
        return None
    operand = list(piece.base.args[0])[int(piece.start)]  # type: ignore[arg-type]  # a list of nodes
    return operand if isinstance(operand, Node) and editor.sizes(operand) == editor.sizes(node) else None


def without_joining(editor: GraphEditor, node: Node) -> Node | None:
    """A concatenation of all pieces of something is that; one of a concatenation is one; empty operands go."""
    operands = _joined(node, None)
    if operands is None:
        return None
    axis = argument_of(node, 1, 0) % rank_of(node)
    filled = [operand for operand in operands if editor.sizes(operand)[axis] != 0]
    if len(filled) == 1:
        return filled[0]
    flat = [part for operand in filled for part in (_own_operands(editor, operand, axis) or [operand])]
    if len(flat) != len(operands) and flat:
        return editor.put(node, _aten.cat.default, (flat, axis))
    pieces = [_piece(editor, operand) for operand in operands]
    first = pieces[0]
    if first is None or first.start != 0 or first.end is None:
        return None
    end = first.end
    for piece in pieces[1:]:
        if piece is None or (piece.base, piece.axis, piece.start) != (first.base, axis, end):
            return None
        end = piece.end
    is_whole = first.axis == axis and end == editor.sizes(first.base)[axis]
    return first.base if is_whole and editor.sizes(first.base) == editor.sizes(node) else None


@dataclass(frozen=True, eq=False)
class _Piece:
    """Elements `start` to `end` of `base` along an axis. A bound beyond the size equals no bound that is within."""

    base: Node
    axis: int
    start: sympy.Expr
    end: sympy.Expr


def _piece(editor: GraphEditor, node: Node) -> _Piece | None:
    """What a slice, a selection, or a result of a split is a piece of."""
    if node.target is _aten.slice.Tensor:
        return _cut(editor, node)
    if node.target is _aten.select.int:
        return _single(editor, node.all_input_nodes[0], argument_of(node, 1), argument_of(node, 2))
    return _part(editor, node) if node.target is operator.getitem else None


def _cut(editor: GraphEditor, node: Node) -> _Piece | None:
    base = node.all_input_nodes[0]
    axis, first, last = _bounds(node)
    if axis is None:
        return None
    size = editor.sizes(base)[axis]
    start, end = (_bound(editor, bound, size) for bound in (first, last))
    return None if start is None or end is None else _Piece(base, axis, start, end)


def _part(editor: GraphEditor, node: Node) -> _Piece | None:
    split, place = node.args
    assert isinstance(split, Node)
    assert isinstance(place, int)
    base = split.all_input_nodes[0]
    if split.target is _aten.unbind.int:
        return _single(editor, base, argument_of(split, 1, 0), place)
    if split.target not in _SPLITS:
        return None
    axis = argument_of(split, 2, 0) % rank_of(base)
    before = [part.shape[axis] for part in split.meta["val"][:place]]
    start = sum((_size(editor, size) for size in before), start=sympy.Integer(0))
    return _Piece(base, axis, start, start + editor.sizes(node)[axis])


def _single(editor: GraphEditor, base: Node, axis: Any, index: Any) -> _Piece | None:
    if not isinstance(index, int):
        return None
    axis %= rank_of(base)
    start = sympy.Integer(index) if index >= 0 else editor.sizes(base)[axis] + index
    return _Piece(base, axis, start, start + 1)


def _size(editor: GraphEditor, size: int | torch.SymInt) -> sympy.Expr:
    found = editor.number(size)
    assert found is not None
    return found


def _bounds(node: Node) -> tuple[int | None, Any, Any]:
    """Axis, start and end of a slice; no axis if it leaves elements out."""
    axis, start, end = argument_of(node, 1, 0), argument_of(node, 2), argument_of(node, 3)
    if argument_of(node, 4, 1) != 1:
        return None, None, None
    far = end is None or (isinstance(end, int) and end >= _END)
    return axis % rank_of(node), 0 if start is None else start, _END if far else end


def _bound(editor: GraphEditor, bound: Any, size: sympy.Expr) -> sympy.Expr | None:
    """A bound of a slice, counted from the first element."""
    if bound == _END:
        return size
    number = editor.number(bound)
    if number is None:
        return None
    if not number.is_Integer:
        return number
    counted = number if number >= 0 else size + number
    return sympy.Max(0, sympy.Min(counted, size)) if size.is_Integer else counted


def _joined(node: Node, axis: int | None) -> list[Node] | None:
    """The operands of a concatenation, along an axis if one is given, that have its rank and its type."""
    if node.target is not _aten.cat.default:
        return None
    value = node.meta["val"]
    operands = list(node.args[0])  # type: ignore[arg-type]  # a list of nodes
    alike = all(n.meta["val"].dtype == value.dtype and n.meta["val"].dim() == value.dim() for n in operands)
    along = argument_of(node, 1, 0) % rank_of(node)
    return operands if alike and axis in (None, along) else None


def _own_operands(editor: GraphEditor, node: Node, axis: int) -> list[Node] | None:
    """The operands of a concatenation along that axis which one thing alone uses."""
    is_own = len(node.users) == 1 and node not in editor.kept
    return _joined(node, axis) if is_own and node.target is _aten.cat.default else None


def _picked(editor: GraphEditor, node: Node, operand: Node, axis: int) -> Node | None:
    """The operand as the node gives it: a selection has an axis less.

    A result of a split is one of several, which together are one operator: it is only taken from where it is.
    """
    if rank_of(node) == rank_of(operand):
        return operand
    if node.target is operator.getitem:
        shape = editor.sizes(node)
        return next((seen for seen in seen_through(operand) if editor.sizes(seen) == shape), None)
    return editor.put(node, _aten.squeeze.dims, (operand, [axis]))


def _inside(
    editor: GraphEditor, node: Node, piece: _Piece, operands: Sequence[Node], bounds: Sequence[sympy.Expr]
) -> Node | None:
    """A slice or a selection of a concatenation that lies in one operand."""
    if node.target not in (_aten.slice.Tensor, _aten.select.int) or not is_tensor(node):
        return None
    for operand, low, high in zip(operands, bounds, bounds[1:], strict=False):
        start, end, size = piece.start - low, piece.end - low, high - low
        if not all(number.is_Integer for number in (start, end, size)) or not 0 <= start < end <= size:
            continue
        if node.target is _aten.select.int:
            return editor.put(node, _aten.select.int, (operand, piece.axis, int(start)))
        return editor.put(node, _aten.slice.Tensor, (operand, piece.axis, int(start), int(end)))
    return None
