"""What a step needs of a decoder that sees all tokens so far, worked backwards from the last row of the scores.

A value with axes of time is wanted in one or more *forms*: along each such axis either its last row, or whole. What
runs along an axis of the result (axis_maps.py) is wanted as the result is. What is contracted or compared along time
is wanted whole. A value that depends on the tokens and is wanted whole is *kept*: its rows are put in a cache. What
an operator cannot give by rows is computed whole, from operands that are whole.
"""

from __future__ import annotations

import itertools
import operator
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import sympy
import torch
from torch.fx import Node

from passes.axis_maps import LAST, WHOLE, AxisMap, argument_of, axis_map
from passes.dependence import Dependence, elements, result_of, views_of
from passes.dialect.nodes import recurrence
from passes.graph_builder import expression_of, values_of
from passes.program import Function
from passes.subgraphs import has_subgraphs

_aten = torch.ops.aten

Form: TypeAlias = tuple[bool, ...]
"""For each axis of time of a value: True if it is whole, False for its last row."""

_RESHAPES = (_aten.reshape.default, _aten.view.default, _aten.flatten.using_ints, _aten.unflatten.int)
_RANGES = (_aten.arange.start_step, _aten.arange.start, _aten.arange.default)


class NoCacheError(ValueError):
    """A decoder has no cache; `node` is what stands in the way."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason)
        self.node = node


class StepForms:
    """The forms in which each node of a decoder is wanted. Raises NoCacheError if one cannot be had."""

    def __init__(self, function: Function, tokens: str, logits: str) -> None:
        self.dependence = Dependence(function, tokens)
        self.result = result_of(function, logits)
        self.wanted: dict[Node, dict[Form, None]] = defaultdict(dict)
        if not self.axes(self.result):
            raise NoCacheError(self.result, "has no axis that counts tokens")
        self.wanted[self.result][self.rows(self.result)] = None
        for node in reversed(function.graph.nodes):
            waiting = list(self.wanted.get(node, ()))
            while waiting:
                for operand, form in self.operands(node, waiting.pop()):
                    if form not in self.wanted[operand]:
                        self.wanted[operand][form] = None
                        if operand is node:
                            waiting.append(form)

    def axes(self, node: Node) -> tuple[int, ...]:
        """The axes of time of a node's value, or of the first if it has several."""
        found = values_of(node)
        return self.dependence.time_axes(found[0]) if found else ()

    def rows(self, node: Node) -> Form:
        """The form with nothing whole."""
        return (False,) * len(self.axes(node))

    def operands(self, node: Node, form: Form) -> Iterator[tuple[Node, Form]]:
        """What a form of a node is made of."""
        if self.is_kept(node, form):
            yield node, (False,)
        elif node.op == "placeholder":
            if any(form) or (form and node is not self.dependence.token_node):
                raise NoCacheError(node, "is an input for all tokens so far")
        elif node not in self.dependence.on_time:
            yield from ((n, ()) for n in node.all_input_nodes if values_of(n))
        elif has_subgraphs(node):
            raise NoCacheError(node, "branches or loops for all tokens at once")
        elif node.target is operator.getitem:
            several = node.all_input_nodes[0]
            yield several, form or self.rows(several)
        elif self.is_carried(node):
            yield from self._operands_of_recurrence(node)
        else:
            if len(form) > 1 and all(form) and node in self.dependence.on_tokens:
                raise NoCacheError(node, "is needed for every pair of tokens")
            after = dict(zip(self.axes(node), self.direct(node, form), strict=True))
            for operand, axes in self.map(node).operands.items():
                yield operand, tuple(_follow(axes[axis], after) for axis in self.axes(operand))

    def _operands_of_recurrence(self, node: Node) -> Iterator[tuple[Node, Form]]:
        loop = recurrence(node)
        assert loop is not None
        yield loop.x, self.rows(loop.x)
        for operand in node.all_input_nodes:
            if operand is not loop.x and operand not in loop.initial:
                yield operand, tuple(True for _ in self.axes(operand))

    def is_carried(self, node: Node) -> bool:
        """True for a recurrence over the tokens that goes on from its last state."""
        loop = recurrence(node)
        return loop is not None and loop.is_causal and self.axes(loop.x) == (0,)

    def is_kept(self, node: Node, form: Form) -> bool:
        """True for a value that is wanted whole and whose rows are kept for that."""
        return (
            form == (True,)
            and node in self.dependence.on_tokens
            and isinstance(node.meta["val"], torch.Tensor)
            and self._gives_rows(node)
            and self._place(node) is node
        )

    def _gives_rows(self, node: Node) -> bool:
        if node.target is operator.getitem:
            node = node.all_input_nodes[0]
        return node.op == "placeholder" or self.is_carried(node) or not any(self.direct(node, self.rows(node)))

    def _place(self, node: Node) -> Node:
        """Of the views that a value is made of, where it is kept: one with an axis for rows and one for tokens.

        The smallest of these, and of those the nearest; but one further on that is just what would be stored, so that
        keys and values that are one tensor are kept once.
        """
        views = [view for view in views_of(node, self.dependence.on_tokens) if self.batch_axis(view) is not None]
        if not views:
            raise NoCacheError(node, "is needed whole, and has no axis for rows and one for tokens")
        found = min(views, key=elements)
        order: tuple[int, ...] = storage_order(found.meta["val"].dim(), self.axes(found)[0])
        for view, inner in itertools.pairwise(views_of(found, self.dependence.on_tokens)):
            if view.target not in (_aten.permute.default, _aten.transpose.int):
                break
            origin = {axis: inner_axis for inner_axis, axis in enumerate(axis_map(view).operands[inner])}
            order = tuple(origin[axis] for axis in order)
            if order == tuple(range(len(order))):
                return inner
        return found

    def batch_axis(self, node: Node) -> int | None:
        """The axis that is the batch of a value with one axis of time and nothing else in it; None if it has none."""
        axes = self.axes(node)
        sizes = [self._named(size) for size in node.meta["val"].shape]
        batch, time = map(self._named, self.dependence.token_node.meta["val"].shape)
        if len(axes) != 1 or sizes[axes[0]] != time:
            return None
        return next((axis for axis, size in enumerate(sizes) if axis not in axes and size == batch), None)

    def _named(self, size: int | torch.SymInt) -> str:
        """A size by the source's name: two symbols of one name are one size."""
        written = str(expression_of(size))
        return self.dependence.function.symbols.get(written, written)

    def direct(self, node: Node, form: Form) -> Form:
        """The form in which the operator gives its result: whole where it cannot give a row by itself."""
        found = self.map(node)
        along = set(found.repeats) | self.position_axes(node)
        for operand, axes in found.operands.items():
            along |= {axes[axis] for axis in self.axes(operand)}
        return tuple(whole or axis not in along for axis, whole in zip(self.axes(node), form, strict=True))

    def position_axes(self, node: Node) -> frozenset[int]:
        """Axes of time that a range counts, or that are cut out of a table."""
        if node.target in _RANGES:
            return frozenset(self.axes(node))
        if node.target is not _aten.slice.Tensor:
            return frozenset()
        table = node.all_input_nodes[0]
        cut = argument_of(node, 1, 0) % values_of(node)[0].dim()
        return frozenset({cut}) & (frozenset(self.axes(node)) - frozenset(self.axes(table)))

    def map(self, node: Node) -> AxisMap:
        """The axis map of a node."""
        return self._reshape(node) if node.target in _RESHAPES else axis_map(node)

    def _reshape(self, node: Node) -> AxisMap:
        """Axes of time run along each other if as many elements of one position stand before them, or up to their end.

        Both hold for an axis that stays as it is; one does for [batch, t, n] as [batch * t, n].
        """
        operand = node.all_input_nodes[0]
        before, after = values_of(operand)[0], values_of(node)[0]
        axes = [WHOLE] * before.dim()
        if len(self.axes(operand)) == len(self.axes(node)):
            for old, new in zip(self.axes(operand), self.axes(node), strict=True):
                if any(a == b for a, b in zip(self._around(before, old), self._around(after, new), strict=True)):
                    axes[old] = new
        return AxisMap({operand: tuple(axes)})

    def _around(self, value: torch.Tensor, axis: int) -> tuple[sympy.Expr, sympy.Expr]:
        sizes = [self.at(expression_of(size), sympy.Integer(1)) for size in value.shape]
        return sympy.prod(sizes[:axis]), sympy.prod(sizes[: axis + 1])

    def at(self, expression: sympy.Expr, tokens: sympy.Expr) -> sympy.Expr:
        """A size when there are so many tokens."""
        time = {symbol: tokens for symbol in expression.free_symbols if str(symbol) in self.dependence.time}
        found: sympy.Expr = expression.xreplace(time)
        return found


def _follow(axis: int, after: Mapping[int, bool]) -> bool:
    return axis != LAST and (axis == WHOLE or after.get(axis, True))


def storage_order(rank: int, axis: int) -> tuple[int, ...]:
    """The axes of a value as a slot has them: the last two change places if time would be the last.

    Then a row is contiguous, and a product reads the transposed matrix in place.
    """
    order = list(range(rank))
    if axis == rank - 1 and rank > 2:
        order[-2:] = order[:-3:-1]
    return tuple(order)


def is_counted(argument: Any) -> bool:
    """True for an argument that is a size of the graph."""
    return isinstance(argument, Node) and isinstance(argument.meta.get("val"), torch.SymInt)
