"""Which nodes of a function depend on given inputs, on a caller at all, and which sizes count tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property

import sympy
import torch
from torch.fx import Node

from passes.graph_builder import expression_of, values_of
from passes.program import Function

_MOVEMENTS = frozenset(
    {
        torch.ops.aten.expand.default,
        torch.ops.aten.repeat.default,
        torch.ops.aten.unsqueeze.default,
        torch.ops.aten.squeeze.dim,
        torch.ops.aten.squeeze.dims,
        torch.ops.aten.view.default,
        torch.ops.aten.reshape.default,
        torch.ops.aten.permute.default,
        torch.ops.aten.transpose.int,
        torch.ops.aten.flatten.using_ints,
        torch.ops.aten.clone.default,
        torch.ops.aten.alias.default,
    }
)


class Dependence:
    """The nodes of a function seen from its decoder's tokens.

    A node depends on the tokens through their values or through their number; that a batch has the tokens' first
    size is no dependence. `time` holds the names of the symbols that count tokens.
    """

    def __init__(self, function: Function, tokens: str) -> None:
        self.function = function
        self.token_node = next(
            node
            for node, spec in zip(function.input_nodes, function.signature.inputs, strict=True)
            if spec.name == tokens
        )
        self.time = frozenset(s for s, name in function.symbols.items() if name in function.time)

    @cached_property
    def on_time(self) -> Collection[Node]:
        """Nodes with a value that depends on the tokens or on their number."""
        found: set[Node] = {self.token_node}
        found |= {node for node in self.function.input_nodes if self._is_counted(node)}
        for node in self.function.computations:
            if values_of(node):
                sizes = any(self._is_counted(n) for n in node.all_input_nodes if not values_of(n))
                if sizes or any(n in found for n in node.all_input_nodes):
                    found.add(node)
            elif self._is_counted(node):
                found.add(node)
        return found

    @cached_property
    def on_tokens(self) -> Collection[Node]:
        """Nodes that depend on the tokens' values."""
        return self._reached({self.token_node})

    @cached_property
    def on_caller(self) -> Collection[Node]:
        """Nodes that depend on the values of an input, not only on weights and sizes."""
        return self._reached(set(self.function.input_nodes))

    def _reached(self, found: set[Node]) -> set[Node]:
        for node in self.function.computations:
            if values_of(node) and any(n in found for n in node.all_input_nodes):
                found.add(node)
        return found

    def _is_counted(self, node: Node) -> bool:
        """True if a size among the node's own value, or of its shape, is made of the number of tokens."""
        value = node.meta.get("val")
        sizes = value.shape if isinstance(value, torch.Tensor) else (value,)
        return any(isinstance(s, torch.SymInt) and self.counts_tokens(s.node.expr) for s in sizes)

    def counts_tokens(self, expression: sympy.Expr) -> bool:
        """True if a size is made of the number of tokens."""
        return any(str(symbol) in self.time for symbol in expression.free_symbols)

    def time_axes(self, value: torch.Tensor) -> tuple[int, ...]:
        """The axes whose size is made of the number of tokens."""
        return tuple(axis for axis, size in enumerate(value.shape) if self.counts_tokens(expression_of(size)))


def result_of(function: Function, output: str) -> Node:
    """The node whose value is the output of that name."""
    found = zip(function.results, function.signature.outputs, strict=True)
    node = next(node for node, spec in found if spec.name == output)
    assert isinstance(node, Node)
    return node


def needed(results: Iterable[Node], operands: Callable[[Node], Iterable[Node]]) -> set[Node]:
    """The nodes that results are made of, themselves included, where `operands` gives what a node is made of."""
    found: set[Node] = set()
    waiting = list(results)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += operands(node)
    return found


def views_of(node: Node, allowed: Collection[Node]) -> Iterator[Node]:
    """The node, and what it is a view, a permutation or a repetition of, nearest first, among `allowed`."""
    yield node
    while node.target in _MOVEMENTS:
        node = node.all_input_nodes[0]
        if node not in allowed:
            return
        yield node


def smallest_form(node: Node, allowed: Collection[Node]) -> Node:
    """Of the views that a node is made of, the nearest of those with the fewest elements.

    What is handed from one function to another is that one, so that a repetition is made where it is used.
    """
    return min(views_of(node, allowed), key=elements)


def elements(node: Node) -> int:
    """Number of elements at the sizes of the sample that was traced."""
    sizes = (size.node.hint if isinstance(size, torch.SymInt) else size for size in node.meta["val"].shape)
    return math.prod(sizes)
