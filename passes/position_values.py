"""What the values of a step are at each position, where nothing but the position decides.

Two things are told apart: values that are the same number everywhere, whatever the sizes, and values that can be
computed for every position there is. The first are followed by rule, through sizes that only a request knows; the
second are computed with the weights that they need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import sympy
import torch
from torch.fx import Node

from artifacts.weights import WeightStore
from passes.graph_builder import expression_of, values_of
from passes.program import Function
from passes.torch_dtypes import from_numpy

_aten = torch.ops.aten


@dataclass(frozen=True)
class Uniform:
    """A tensor of any shape with one number everywhere."""

    number: bool | int | float


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that is the same at every position."""

    tensor: torch.Tensor


@dataclass(frozen=True, eq=False)
class Table:
    """A tensor for each position, from the first on, up to sizes that a broadcast adds."""

    rows: Sequence[torch.Tensor]


PositionValue: TypeAlias = Uniform | Constant | Table

MOVEMENTS = frozenset(
    {
        _aten.alias.default,
        _aten.clone.default,
        _aten.expand.default,
        _aten.flatten.using_ints,
        _aten.gather.default,
        _aten.index.Tensor,
        _aten.index_select.default,
        _aten.permute.default,
        _aten.repeat.default,
        _aten.reshape.default,
        _aten.select.int,
        _aten.slice.Tensor,
        _aten.squeeze.default,
        _aten.squeeze.dim,
        _aten.squeeze.dims,
        _aten.t.default,
        _aten.transpose.int,
        _aten.unsqueeze.default,
        _aten.view.default,
    }
)
"""Operators that give elements of their first operand and nothing else."""

MOST_KEPT = 1 << 22
"""Elements over all positions that are kept in memory for one node."""

MOST_ELEMENTS = 1 << 29
"""What would be more than this over all positions is left to every step."""

_FILLS: Mapping[Any, Any] = {
    _aten.full.default: lambda node: node.args[1],
    _aten.full_like.default: lambda node: node.args[1],
    _aten.zeros.default: lambda _: 0,
    _aten.zeros_like.default: lambda _: 0,
    _aten.ones.default: lambda _: 1,
    _aten.ones_like.default: lambda _: 1,
}
"""Operators that write one number, and where it stands."""


def position_values(
    function: Function, weights: WeightStore, past: sympy.Symbol, count: int
) -> Mapping[Node, PositionValue]:
    """The values of a function that only the position decides, with `past` = 0 .. count - 1 as the position."""
    finder = _Finder(function, weights, past, count)
    for node in function.graph.nodes:
        found = finder.value(node)
        if found is not None:
            finder.known[node] = found
    return finder.known


class _Computed(Sequence[torch.Tensor]):
    """Rows that are computed whenever they are asked for."""

    def __init__(self, row: Callable[[int], torch.Tensor], length: int) -> None:
        self.row = row
        self.length = length

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> torch.Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[torch.Tensor]: ...

    def __getitem__(self, index: int | slice) -> torch.Tensor | Sequence[torch.Tensor]:
        found = range(self.length)[index]
        return self.row(found) if isinstance(found, int) else [self.row(position) for position in found]


class _Finder:
    def __init__(self, function: Function, weights: WeightStore, past: sympy.Symbol, count: int) -> None:
        self.function = function
        self.weights = weights
        self.past = past
        self.count = count
        self.known: dict[Node, PositionValue] = {}
        self.sizes: dict[sympy.Expr, Callable[[int], int] | None] = {}

    def value(self, node: Node) -> PositionValue | None:
        """What is known of a node, whose operands were asked for before."""
        if node.op == "placeholder":
            return self._weight(node)
        if not isinstance(node.target, torch._ops.OpOverload) or not isinstance(node.meta["val"], torch.Tensor):
            return None
        if torch.Tag.nondeterministic_seeded in node.target.tags:
            return None
        return self._filled(node) or self._moved(node) or self._computed(node)

    def _weight(self, node: Node) -> PositionValue | None:
        ref = self.function.weights.get(node.name)
        if ref is None:
            return None
        tensor = from_numpy(self.weights.array(ref), ref.dtype)
        return (_as_uniform((tensor,)) if ref.size == 1 else None) or Constant(tensor)

    def _filled(self, node: Node) -> Uniform | None:
        fill = _FILLS.get(node.target)
        number = None if fill is None else fill(node)
        if number is None or isinstance(number, Node):
            return None
        return Uniform(torch.tensor(number).to(node.meta["val"].dtype).item())

    def _moved(self, node: Node) -> Uniform | None:
        moved = self.known.get(node.args[0]) if node.target in MOVEMENTS and isinstance(node.args[0], Node) else None
        return moved if isinstance(moved, Uniform) else None

    def _computed(self, node: Node) -> PositionValue | None:
        """What nothing but known values decides."""
        operands = [n for n in node.all_input_nodes if values_of(n)]
        known = [self.known.get(n) for n in operands]
        if any(value is None for value in known):
            return None
        sizes = [n.meta["val"].node.expr for n in node.all_input_nodes if not values_of(n)]
        numbers = {n: value.number for n, value in zip(operands, known, strict=True) if isinstance(value, Uniform)}
        if operands and len(numbers) == len(operands) and not sizes and is_pointwise(node):
            elements = {n: torch.full([1], number, dtype=n.meta["val"].dtype) for n, number in numbers.items()}
            return _as_uniform((self._call(node, elements, 0),))
        if node.target is _aten.expand.default and isinstance(known[0], Table):
            return self._widened(node, known[0])
        if not all(self._size(expression) for expression in sizes):
            return None
        seen = [*sizes, *(expression_of(size) for operand in operands for size in operand.meta["val"].shape)]
        if any(isinstance(value, Table) for value in known) or any(self.past in size.free_symbols for size in seen):
            return self._table(node, operands)
        # What weights alone decide is folded elsewhere; here only views of them are followed.
        is_view = node.target in MOVEMENTS and all(isinstance(value, Constant) for value in known)
        return Constant(self._row(node, operands, 0)) if is_view else None

    def _table(self, node: Node, operands: Sequence[Node]) -> PositionValue | None:
        """The values of all positions. Those of a matrix of all tokens are computed anew when they are asked for."""
        elements = self._elements(node) * self.count
        if elements > MOST_ELEMENTS or not all(self._is_seen_right(n, node) for n in operands):
            return None
        computed = _Computed(lambda position: self._row(node, operands, position), self.count)
        rows = computed if elements > MOST_KEPT else tuple(computed)
        return _as_uniform(rows) or Table(rows)

    def _widened(self, node: Node, value: Table) -> Table:
        """An expansion adds nothing that a broadcast would not."""
        rank, rows = node.meta["val"].dim(), value.rows
        return Table(
            _Computed(
                lambda position: rows[position].reshape((1,) * (rank - rows[position].dim()) + rows[position].shape),
                self.count,
            )
        )

    def _row(self, node: Node, operands: Sequence[Node], position: int) -> torch.Tensor:
        return self._call(node, {n: self._at(n, position) for n in operands}, position)

    def _call(self, node: Node, given: Mapping[Node, torch.Tensor], position: int) -> torch.Tensor:
        def argument(operand: Node) -> Any:
            if operand in given:
                return given[operand]
            size = self._size(operand.meta["val"].node.expr)
            assert size is not None
            return size(position)

        args, kwargs = torch.fx.map_arg((node.args, dict(node.kwargs)), argument)
        with torch.no_grad():
            result: torch.Tensor = node.target(*args, **kwargs)  # type: ignore[operator]
        return result

    def _at(self, node: Node, position: int) -> torch.Tensor:
        """A known value; of a uniform one the sizes that only a request knows are 1."""
        value = self.known[node]
        if isinstance(value, Constant):
            return value.tensor
        if isinstance(value, Table):
            return value.rows[position]
        sizes = [self._size(expression_of(size)) for size in node.meta["val"].shape]
        return torch.full([size(position) if size else 1 for size in sizes], value.number, dtype=node.meta["val"].dtype)

    def _is_seen_right(self, operand: Node, user: Node) -> bool:
        """True if the value at hand has the operand's sizes, or the user only broadcasts."""
        if is_pointwise(user) or isinstance(self.known[operand], Constant):
            return True
        sizes = [self._size(expression_of(size)) for size in operand.meta["val"].shape]
        last = self.count - 1
        shape = tuple(self._at(operand, last).shape)
        return all(sizes) and shape == tuple(size(last) for size in sizes if size)

    def _elements(self, node: Node) -> int:
        """How many there are at the last position."""
        sizes = (self._size(expression_of(size)) for size in node.meta["val"].shape)
        return math.prod(size(self.count - 1) for size in sizes if size)

    def _size(self, expression: sympy.Expr) -> Callable[[int], int] | None:
        """A size as a function of the position; None if something else decides it."""
        if expression not in self.sizes:
            is_told = expression.free_symbols <= {self.past}
            self.sizes[expression] = sympy.lambdify(self.past, expression, "math") if is_told else None
        return self.sizes[expression]


def is_pointwise(node: Node) -> bool:
    """True if each element is made of the elements at its own place, operands broadcast."""
    if node.target in (_aten.to.dtype, _aten._to_copy.default):
        return True
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags


def _as_uniform(tensors: Sequence[torch.Tensor]) -> Uniform | None:
    """The one number that all elements are, if there is one."""
    first = next((tensor.reshape(-1)[0] for tensor in tensors if tensor.numel()), None)
    if first is None or not all(bool((tensor == first).all()) for tensor in tensors):
        return None
    return Uniform(first.item())
