"""Numbers and places of a step whose position is an input: what sizes said where the cache grew."""

from __future__ import annotations

from typing import Any

import sympy
import torch
from torch.fx import Node

from passes.graph_builder import GraphBuilder, expression_of

_aten = torch.ops.aten


class NoBoundError(ValueError):
    """A step cannot have a cache of one length; the text says what stands in the way."""


class BoundedPlaces:
    """Writes numbers that depend on the position, where `past` stood for it, into a step with room for `rows` rows."""

    def __init__(self, builder: GraphBuilder, position: Node, past: sympy.Symbol, rows: int) -> None:
        """`position` is int64 []."""
        self._builder = builder
        self._position = position
        self._past = past
        self._rows = rows
        self._numbers: dict[sympy.Expr, Node] = {}
        self._there: dict[tuple[sympy.Expr, int], Node] = {}

    def depends(self, size: Any) -> bool:
        """True for a size, or an expression of sizes, that grows with the cache."""
        expression = size if isinstance(size, sympy.Expr) else expression_of(size)
        return self._past in expression.free_symbols

    def extent(self, expression: sympy.Expr) -> int:
        """A size with room for all rows. Raises NoBoundError if it is made of other sizes too."""
        last = {self._past: sympy.Integer(self._rows - 1)}
        room = self._rows if expression == self._past else expression.xreplace(last)
        if not sympy.sympify(room).is_Integer:
            raise NoBoundError(f"a size is {self._builder.named(expression)}")
        return int(room)

    def number(self, expression: sympy.Expr) -> Node:
        """A size as a number that depends on the position, int64 []. Raises NoBoundError if it has another form."""
        if expression not in self._numbers:
            factor = expression.coeff(self._past)
            rest = sympy.expand(expression - factor * self._past)
            if not (factor.is_Integer and rest.is_Integer and factor != 0):
                raise NoBoundError(f"{self._builder.named(expression)} is not in proportion to the position")
            made = self._position
            if factor != 1:
                made = self._builder.call(_aten.mul.Tensor, made, int(factor))
            if rest != 0:
                made = self._builder.call(_aten.add.Tensor, made, int(rest))
            self._numbers[expression] = made
        return self._numbers[expression]

    def all(self) -> Node:
        """The place of every row, int64 [rows]."""
        return self.range(sympy.Integer(0), sympy.Integer(self._rows), self._rows)

    def range(self, begin: sympy.Expr, end: sympy.Expr, size: int | torch.SymInt) -> Node:
        """Whole numbers from `begin` on, as many as `size` has room for, int64 [...].

        Behind `end` the one before it stands again: a place in a table stays one that is in it.
        """
        count = int(size) if not self.depends(size) else self.extent(expression_of(size))
        if not begin.free_symbols:
            made = self._builder.call(_aten.arange.start_step, int(begin), int(begin) + count)
        else:
            made = self._builder.call(_aten.arange.start_step, 0, count)
            made = self._builder.call(_aten.add.Tensor, made, self.number(begin))
        if not self.depends(size):
            return made
        if not end.free_symbols:
            return self._builder.call(_aten.clamp.default, made, None, int(end) - 1)
        return self._builder.call(_aten.minimum.default, made, self.number(end - 1))

    def here(self, behind: int) -> Node:
        """Which row is written, bool [rows, 1, ...] with so many axes behind."""
        return self._shaped(self._builder.call(_aten.eq.Tensor, self.all(), self._position), behind)

    def there(self, count: sympy.Expr, behind: int) -> Node:
        """Which of the places are among the first `count`, bool [rows, 1, ...] with so many axes behind."""
        if (count, behind) not in self._there:
            found = self._builder.call(_aten.lt.Tensor, self.all(), self.number(count))
            self._there[count, behind] = self._shaped(found, behind)
        return self._there[count, behind]

    def _shaped(self, flags: Node, behind: int) -> Node:
        return self._builder.call(_aten.reshape.default, flags, [self._rows] + [1] * behind)
