"""Views that show what is there already: the same elements in the same order, of the same type."""

from __future__ import annotations

import torch
from torch.fx import Node

from passes.axis_maps import argument_of
from passes.graph_editor import GraphEditor, is_tensor

_aten = torch.ops.aten

RESHAPES = frozenset({_aten.reshape.default, _aten.view.default, _aten._unsafe_view.default})

COPIES = frozenset({_aten.clone.default, _aten.contiguous.default, _aten.lift_fresh_copy.default})
"""Operators that give the same elements once more."""

VIEWS = (
    RESHAPES
    | COPIES
    | {
        _aten.flatten.using_ints,
        _aten.unflatten.int,
        _aten.unsqueeze.default,
        _aten.squeeze.default,
        _aten.squeeze.dim,
        _aten.squeeze.dims,
        _aten.alias.default,
        _aten.detach.default,
    }
)
"""Operators that keep the elements, their order and their type, and at most change the shape."""


def without_view(editor: GraphEditor, node: Node) -> Node | None:
    """A view of a view is one view; one that comes back to a shape that was there is that."""
    if node.target not in VIEWS or not is_tensor(node):
        return None
    shape = editor.sizes(node)
    for earlier in seen_through(node):
        if editor.sizes(earlier) == shape:
            return earlier
    (inner,) = node.all_input_nodes[:1]
    if inner.target not in VIEWS or len(inner.users) > 1 or inner in editor.kept:
        return None
    base = inner.all_input_nodes[0]
    if node.target in RESHAPES:
        return editor.put(node, _aten.reshape.default, (base, argument_of(node, 1)))
    known = editor.known_shape(node)
    return None if known is None else editor.put(node, _aten.reshape.default, (base, known))


def without_slice(editor: GraphEditor, node: Node) -> Node | None:
    """A slice of everything is what it is a slice of."""
    if node.target is not _aten.slice.Tensor or argument_of(node, 4, 1) != 1:
        return None
    (whole,) = node.all_input_nodes[:1]
    return whole if editor.sizes(whole) == editor.sizes(node) else None


def seen_through(node: Node) -> list[Node]:
    """What a chain of views that ends in the node shows: the view before it, and so on to their base."""
    found = []
    while node.target in VIEWS:
        node = node.all_input_nodes[0]
        found.append(node)
    return found
