"""Write the step of a decoder anew with caches that have room for every row from the start.

A value along whose axis the rows of a cache run has as many places as the cache has room; those from `past` on, or
from `past + 1`, are not there yet. What an operator makes of one place stays at its place (axis_maps.py). What brings
places together leaves out those that are not there: a softmax and a maximum see minus infinity, products and sums see
zeros. Numbers that were sizes, as where a table is cut, are computed from the position instead.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy
import torch
from torch.fx import Node

from artifacts.dtype import DType
from artifacts.spec import Signature, TensorSpec
from passes.axis_maps import LAST, WHOLE, argument_of, axis_map
from passes.bounded_places import BoundedPlaces, NoBoundError
from passes.graph_builder import GraphBuilder, NoSizeError, expression_of, values_of
from passes.program import Function

_aten = torch.ops.aten

_RESHAPES = (_aten.reshape.default, _aten.view.default)
_RANGES = (_aten.arange.default, _aten.arange.start, _aten.arange.start_step)
_MOVEMENTS = frozenset(
    {
        _aten.alias.default,
        _aten.clone.default,
        _aten.permute.default,
        _aten.transpose.int,
        _aten.unsqueeze.default,
        *_RESHAPES,
    }
)
"""Operators after which zeros are where they were, along the axis on which they then are."""

_LEFT_OUT: Mapping[Any, float] = {
    _aten.softmax.int: -math.inf,
    _aten._softmax.default: -math.inf,
    _aten.log_softmax.int: -math.inf,
    _aten._log_softmax.default: -math.inf,
    _aten.amax.default: -math.inf,
    _aten.amin.default: math.inf,
    _aten.argmax.default: -math.inf,
    _aten.argmin.default: math.inf,
    _aten.logsumexp.default: -math.inf,
    _aten.sum.dim_IntList: 0.0,
    _aten.matmul.default: 0.0,
    _aten.mm.default: 0.0,
    _aten.bmm.default: 0.0,
}
"""What an operator that brings places together is given for those that are not there: it changes no result."""

_SOFTMAX = frozenset({_aten.softmax.int, _aten._softmax.default})
_PLACES_STAY = frozenset({_aten.triu.default, _aten.tril.default, _aten.cumsum.default})
"""Operators whose result at a place depends on places up to it, or on which place it is, and on nothing behind it."""


def bounded_step(step: Function, growing: Mapping[str, int], position: str, rows: int) -> Function:
    """The step with `rows` rows in each slot of `growing`, which gives the axis by the input's name.

    Its signature is the given one, with the input `position` int64 [] added behind the others if it had none. Raises
    NoBoundError.
    """
    return _Bounded(step, growing, position, rows).function()


class _Bounded:
    def __init__(self, step: Function, growing: Mapping[str, int], position: str, rows: int) -> None:
        self.step = step
        self.rows = rows
        self.builder = GraphBuilder(step)
        self.new: dict[Node, Any] = {}
        self.empty: dict[Node, frozenset[int]] = {}
        """Axes of a new node along which it is zero at places that are not there."""
        inputs = dict(zip((spec.name for spec in step.signature.inputs), step.input_nodes, strict=True))
        symbols = {expression_of(inputs[name].meta["val"].shape[axis]) for name, axis in growing.items()}
        past = symbols.pop()
        if symbols or not past.is_Symbol:
            raise NoBoundError("the parts of its cache do not grow together")
        self.past: sympy.Symbol = past
        self.name, self.added = position, position not in inputs
        for node in step.weight_nodes:
            self.new[node] = self.builder.placeholder(node.name, node.meta["val"], weight=True)
        for name, node in inputs.items():
            value = node.meta["val"]
            shape = [rows if past in expression_of(size).free_symbols else size for size in value.shape]
            self.new[node] = self.builder.placeholder(node.name, self.builder.empty(shape, value.dtype))
            if name in growing:
                self.empty[self.new[node]] = frozenset({growing[name]})
        if self.added:
            place = self.builder.placeholder(position, self.builder.empty((), torch.int64))
        else:
            place = self.new[inputs[position]]
        self.places = BoundedPlaces(self.builder, place, past, rows)

    def function(self) -> Function:
        """What came of it."""
        for node in self.step.computations:
            if _is_size(node):
                if any(map(values_of, node.all_input_nodes)) and node.target is not _aten.sym_size.int:
                    self.builder.tells(self.builder.copy(node, self.new))  # a value as a size, as of the position
            else:
                self.builder.source = self.step.sources.get(node.name)
                try:
                    self.new[node] = self._made(node)
                except NoBoundError:
                    raise
                except NoSizeError as error:
                    raise NoBoundError(self._said(node, str(error))) from error
                except (RuntimeError, AttributeError) as error:  # torch refuses what does not fit
                    reason = next(iter(str(error).splitlines()), type(error).__name__)
                    raise NoBoundError(self._said(node, reason)) from error
        added = [TensorSpec(name=self.name, dtype=DType.INT64, shape=())] if self.added else []
        inputs = (*self.step.signature.inputs, *added)
        signature = Signature(inputs=inputs, outputs=self.step.signature.outputs)
        results = [self.new[node] for node in self.step.results if isinstance(node, Node)]
        return self.builder.function(self.step, self.step.name, signature, results)

    # Nodes

    def _made(self, node: Node) -> Any:
        if not self._is_concerned(node):
            return self.builder.copy(node, self.new)
        if node.target is operator.getitem:
            return self.new[node.all_input_nodes[0]][node.args[1]]
        rule = _RULES.get(node.target, _Bounded._call)
        return rule(self, node)

    def _call(self, node: Node) -> Any:
        """The operator on its operands, without what is not there where it brings places together."""
        given = {operand: self._operand(node, operand) for operand in node.all_input_nodes if values_of(operand)}

        def argument(operand: Node) -> Any:
            return given[operand] if operand in given else self._size(node, operand)

        args, kwargs = torch.fx.map_arg((node.args, node.kwargs), argument)
        target: Any = node.target
        numbers = [new for old, new in zip(node.args, args, strict=True) if old in self._sizes(node)]
        if target._overloadname == "Scalar" and any(isinstance(number, Node) for number in numbers):
            target = target.overloadpacket.Tensor
        made = self._several(self.builder.call(target, *args, **kwargs))
        if isinstance(made, Node):
            self.empty[made] = self._still_empty(node, given)
        return made

    def _operand(self, node: Node, operand: Node) -> Node:
        new: Node = self.new[operand]
        axes = self._map(node, operand)
        for axis in self._axes(operand):
            if axes[axis] >= 0 or node.target in _PLACES_STAY:
                continue
            left_out = _LEFT_OUT.get(node.target)
            if left_out is None or axes[axis] == LAST:
                raise NoBoundError(self._said(node, f"{node.target} brings the rows of a cache together"))
            new = self._filled(new, operand.meta["val"].shape[axis], axis, left_out)
        return new

    def _still_empty(self, node: Node, given: Mapping[Node, Node]) -> frozenset[int]:
        """The axes along which the result is zero at places that are not there."""
        if node.target in _SOFTMAX:
            return frozenset(self._axes(node)) & {argument_of(node, 1) % _rank(node)}
        if node.target not in _MOVEMENTS:
            return frozenset()
        ((operand, new),) = given.items()
        axes = self._map(node, operand)
        return frozenset(axes[axis] for axis in self.empty.get(new, frozenset()) if axes[axis] >= 0)

    def _joined(self, node: Node) -> Any:
        """The cache with the new row at its position; what is joined along another axis is joined as before."""
        axis = argument_of(node, 1, 0) % _rank(node)
        if axis not in self._axes(node):
            return self._call(node)
        operands: Any = node.args[0]
        if [str(expression_of(n.meta["val"].shape[axis])) for n in operands] != [str(self.past), "1"]:
            raise NoBoundError(self._said(node, "joins other things than a cache and one row"))
        before, row = (self.new[n] for n in operands)
        made = self.builder.call(_aten.where.self, self.places.here(_rank(node) - axis - 1), row, before)
        self.empty[made] = self.empty.get(before, frozenset()) & {axis}
        return made

    def _range(self, node: Node) -> Node:
        """Numbers one after the other."""
        if node.target is _aten.arange.default:
            begin, end = sympy.Integer(0), _expression(node.args[0])
        else:
            begin, end = _expression(node.args[0]), _expression(node.args[1])
        if argument_of(node, 2, 1) != 1 and node.target is _aten.arange.start_step:
            raise NoBoundError(self._said(node, "counts in steps"))
        made = self.places.range(begin, end, node.meta["val"].shape[0])
        return made if node.meta["val"].dtype == torch.int64 else self._cast(made, node)

    def _number(self, node: Node) -> Node:
        """A size as a tensor."""
        made = self.places.number(_expression(node.args[0]))
        return made if node.meta["val"].dtype == torch.int64 else self._cast(made, node)

    def _cut(self, node: Node) -> Any:
        """A part of a table that lies where the position says, or the last row of what runs along a cache."""
        operand = node.all_input_nodes[0]
        axis = argument_of(node, 1, 0) % _rank(node)
        size, before = node.meta["val"].shape[axis], operand.meta["val"].shape[axis]
        start = _expression(argument_of(node, 2, 0) or 0)
        if not (start.free_symbols or self.places.depends(size) or self.places.depends(before)):
            return self._call(node)
        if argument_of(node, 4, 1) != 1:
            raise NoBoundError(self._said(node, "leaves out rows of a cache"))
        if self.places.depends(before) and str(size) == str(before):
            return self.new[operand]
        if start.is_negative:
            start += expression_of(before)
        places = self.places.range(start, start + expression_of(size), size)
        return self.builder.call(_aten.index_select.default, self.new[operand], axis, places)

    def _picked(self, node: Node) -> Any:
        """One place of an axis; the last of what runs along a cache is where the position says."""
        operand = node.all_input_nodes[0]
        axis, index = argument_of(node, 1) % _rank(operand), _expression(argument_of(node, 2))
        if axis not in self._axes(operand) and not index.free_symbols:
            return self._call(node)
        if index.is_negative:
            index += expression_of(operand.meta["val"].shape[axis])
        place = self.places.number(index)
        picked = self.builder.call(
            _aten.index_select.default, self.new[operand], axis, self.builder.call(_aten.reshape.default, place, [1])
        )
        return self.builder.call(_aten.squeeze.dim, picked, axis)

    def _attention(self, node: Node) -> Node:
        """Scaled dot products: scores of keys that are not there are minus infinity."""
        query, key, value = (argument_of(node, i) for i in range(3))
        if argument_of(node, 5, False) or self._axes(query):
            raise NoBoundError(self._said(node, "has a row for each of the cache's"))
        keys = _rank(key) - 2
        size = key.meta["val"].shape[keys]
        there = self.builder.call(_aten.unsqueeze.default, self.places.there(expression_of(size), 0), 0)
        mask = argument_of(node, 3)
        if isinstance(mask, Node):
            new = self.new[mask]
            if mask.meta["val"].dtype == torch.bool:
                there = self.builder.call(_aten.logical_and.default, new, there)
            else:
                there = self.builder.call(_aten.where.self, there, new, self._full(-math.inf, new))
        operands = [self.new[query], *(self._filled(self.new[n], size, keys, 0.0) for n in (key, value)), there]
        args = [*operands, *node.args[4:]]
        kwargs = {name: given for name, given in node.kwargs.items() if name != "attn_mask"}
        return self.builder.call(node.target, *args, **kwargs)

    def _mean(self, node: Node) -> Any:
        """A sum over what is there, by as many."""
        operand = node.all_input_nodes[0]
        axes = self._map(node, operand)
        axis = next((axis for axis in self._axes(operand) if axes[axis] < 0), None)
        if axis is None:
            return self._call(node)
        size = operand.meta["val"].shape[axis]
        filled = self._filled(self.new[operand], size, axis, 0.0)
        mean = self.builder.call(node.target, filled, *node.args[1:], **node.kwargs)
        share = self.builder.call(_aten.div.Tensor, self.rows, self.places.number(expression_of(size)))
        return self.builder.call(_aten.mul.Tensor, mean, share)

    # What is there

    def _filled(self, new: Node, size: int | torch.SymInt, axis: int, number: float) -> Node:
        """The value with a number at the places of an axis that are not there."""
        if number == 0.0 and axis in self.empty.get(new, ()):
            return new
        there = self.places.there(expression_of(size), new.meta["val"].dim() - axis - 1)
        made = self.builder.call(_aten.where.self, there, new, self._full(number, new))
        self.empty[made] = frozenset({axis}) if number == 0.0 else frozenset()
        return made

    def _full(self, number: float, like: Node) -> Node:
        dtype = like.meta["val"].dtype
        if not dtype.is_floating_point and math.isinf(number):
            raise NoBoundError(f"node {like.name!r} has whole numbers, of which none is larger than all")
        return self.builder.call(_aten.full.default, [], number, dtype=dtype)

    # Sizes

    def _sizes(self, node: Node) -> frozenset[Node]:
        return frozenset(filter(_is_size, node.all_input_nodes))

    def _size(self, node: Node, size: Node) -> int | Node:
        """A size among an operator's arguments: a shape's with room for all rows, a number as the position has it."""
        expression = _expression(size)
        if not self.places.depends(expression):
            return self.builder.size(expression)
        if torch.Tag.pointwise in node.target.tags:  # type: ignore[union-attr]
            return self.places.number(expression)
        return self.places.extent(expression)

    def _axes(self, node: Node) -> tuple[int, ...]:
        """The axes of a value along which the rows of a cache run."""
        found = values_of(node)
        return tuple(axis for axis, size in enumerate(found[0].shape) if self.places.depends(size)) if found else ()

    def _is_concerned(self, node: Node) -> bool:
        sizes = (n.meta["val"] for n in self._sizes(node))
        return (
            bool(self._axes(node)) or any(map(self._axes, node.all_input_nodes)) or any(map(self.places.depends, sizes))
        )

    def _map(self, node: Node, operand: Node) -> Sequence[int]:
        """On which axis of the result each of the operand's runs."""
        if node.target not in _RESHAPES:
            return axis_map(node).operands[operand]
        before, after = operand.meta["val"], node.meta["val"]
        axes = [WHOLE] * before.dim()
        for old, new in zip(self._axes(operand), self._axes(node), strict=False):
            if self._around(before, old) == self._around(after, new):
                axes[old] = new
        return axes

    def _around(self, value: torch.Tensor, axis: int) -> tuple[sympy.Expr, sympy.Expr]:
        sizes = [expression_of(size) for size in value.shape]
        return sympy.prod(sizes[:axis]), sizes[axis]

    def _cast(self, made: Node, node: Node) -> Node:
        return self.builder.call(_aten.to.dtype, made, node.meta["val"].dtype)

    def _several(self, made: Node) -> Any:
        if isinstance(made.meta["val"], torch.Tensor):
            return made
        return [self.builder.call(operator.getitem, made, i) for i in range(len(made.meta["val"]))]

    def _said(self, node: Node, reason: str) -> str:
        source = self.step.sources.get(node.name)
        return f"node {node.name!r}" + (f" (source node {source!r})" if source else "") + f" {reason}"


def _is_size(node: Node) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt)


def _expression(argument: Any) -> sympy.Expr:
    return expression_of(argument.meta["val"] if isinstance(argument, Node) else argument)


def _rank(node: Node) -> int:
    return values_of(node)[0].dim()


_RULES: Mapping[Any, Callable[[_Bounded, Node], Any]] = {
    _aten.cat.default: _Bounded._joined,
    **dict.fromkeys(_RANGES, _Bounded._range),
    _aten.scalar_tensor.default: _Bounded._number,
    _aten.slice.Tensor: _Bounded._cut,
    _aten.select.int: _Bounded._picked,
    _aten.scaled_dot_product_attention.default: _Bounded._attention,
    _aten.mean.dim: _Bounded._mean,
}
"""Operators that are not simply called again."""
