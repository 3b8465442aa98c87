"""Edit a graph where it is: sizes compared as symbols, new nodes with fake values and with the source of the old."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import sympy
import torch
from torch.fx import Graph, Node
from torch.fx.node import Argument

from passes.graph_builder import expression_of

Size: TypeAlias = "int | torch.SymInt"


class GraphEditor:
    """A graph that is being edited, of a function or of a branch inside it.

    `symbols` gives the source's names of size symbols: two symbols under one name are one size, and two sizes that
    only happen to be equal in the sample are not. `kept` holds nodes that stay as they are. `sources` is extended for
    nodes that are put in the place of others.
    """

    def __init__(
        self, graph: Graph, symbols: Mapping[str, str], sources: dict[str, str], kept: frozenset[Node] = frozenset()
    ) -> None:
        self.graph = graph
        self.sources = sources
        self.kept = kept
        self._symbols = symbols

    def sizes(self, node: Node) -> tuple[sympy.Expr, ...]:
        """The shape of a node's tensor."""
        return tuple(self._named(expression_of(size)) for size in node.meta["val"].shape)

    def number(self, argument: Argument) -> sympy.Expr | None:
        """A size that is given as an argument, None for anything else."""
        value = argument.meta.get("val") if isinstance(argument, Node) else argument
        if isinstance(value, bool) or not isinstance(value, int | torch.SymInt):
            return None
        return self._named(expression_of(value))

    def put(
        self,
        old: Node,
        target: Any,
        args: Sequence[Argument],
        shape: Sequence[Size] | None = None,
        dtype: torch.dtype | None = None,
    ) -> Node:
        """A new node in front of an old one, of its shape and its element type where no others are given."""
        with self.graph.inserting_before(old):
            made: Node = self.graph.call_function(target, tuple(args))
        value = old.meta["val"]
        with value.fake_mode:
            made.meta["val"] = torch.empty(tuple(value.shape if shape is None else shape), dtype=dtype or value.dtype)
        if old.name in self.sources:
            self.sources[made.name] = self.sources[old.name]
        return made

    def known_shape(self, node: Node) -> list[int] | None:
        """The shape of a node as an argument of a reshape: None if it takes more than one size that is a symbol."""
        sizes = self.sizes(node)
        symbols = sum(not size.is_Integer for size in sizes)
        if symbols > 1 or (symbols and any(size == 0 for size in sizes)):
            return None
        return [int(size) if size.is_Integer else -1 for size in sizes]

    def _named(self, expression: sympy.Expr) -> sympy.Expr:
        named: sympy.Expr = expression.xreplace(
            {s: sympy.Symbol(self._symbols.get(str(s), str(s))) for s in expression.free_symbols}
        )
        return named


def is_tensor(node: Argument) -> bool:
    """True for a node that gives one tensor."""
    return isinstance(node, Node) and isinstance(node.meta.get("val"), torch.Tensor)


def rank_of(node: Node) -> int:
    """The number of axes of a node's tensor."""
    return len(node.meta["val"].shape)
