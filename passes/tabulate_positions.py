"""Look up what a step would compute from its position alone: masks, positions, relative biases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import sympy
import torch
from torch.fx import Node

from artifacts.schedule import Decode
from artifacts.weights import WeightRef, WeightStore
from passes.axis_maps import argument_of
from passes.contract import Pass, Rewrite
from passes.dependence import needed
from passes.graph_builder import GraphBuilder, expression_of, values_of
from passes.position_tables import PositionTable, stored, table_of, weights_under
from passes.position_values import Table, Uniform, is_pointwise, position_values
from passes.program import Function, Program

_aten = torch.ops.aten

Shape: TypeAlias = tuple[int | torch.SymInt, ...]

_NEUTRAL: Mapping[Any, Mapping[int, int]] = {
    _aten.add.Tensor: {0: 0, 1: 0},
    _aten.sub.Tensor: {1: 0},
    _aten.mul.Tensor: {0: 1, 1: 1},
    _aten.div.Tensor: {1: 1},
    _aten.logical_and.default: {0: True, 1: True},
    _aten.logical_or.default: {0: False, 1: False},
}
"""Which number, as which operand, leaves the other operand as it is."""


@dataclass(frozen=True)
class TabulatePositions(Pass):
    """Decode(state=cached): what only the position decides becomes a row of a table, or nothing at all.

    Values are computed here for every position up to the longest decode. A mask that hides nothing from the last
    token goes, with the addition that applied it. A value of one size becomes a row of a table: of a weight's own rows
    where they are that. One that grows by an element a position, and only shifts or only lengthens, becomes a part
    of its last. A table of more than `limit` bytes that is no weight's rows is not made.
    """

    name: ClassVar[str] = "tabulate-positions"
    limit: int = 1 << 18

    def rewrite(self, program: Program) -> Rewrite:
        functions: dict[str, Function] = {}
        store = program.weights
        notes: list[str] = []
        for name, model in program.models.items():
            schedule = model.schedule
            if not isinstance(schedule, Decode) or schedule.state != "cached":
                continue
            step = program.functions[schedule.step]
            past = _past(step, schedule)
            if past is None:
                continue
            plan = _Plan(step, store, past, schedule.generation.max_new_tokens, self.limit)
            if plan.is_empty:
                continue
            store = plan.store
            functions[step.name] = plan.rewritten()
            notes.append(f"{name}: tables: {len(plan.tables)}, operations without effect: {len(plan.kept)}")
        return Rewrite(program.with_functions(functions, store), tuple(notes))


def _past(step: Function, schedule: Decode) -> sympy.Symbol | None:
    """The size that counts the positions before this one, if a slot tells it."""
    inputs = dict(zip((spec.name for spec in step.signature.inputs), step.input_nodes, strict=True))
    for slot in schedule.slots:
        if slot.axis is not None:
            size = expression_of(inputs[slot.input].meta["val"].shape[slot.axis])
            return size if size.is_Symbol else None
    return None


class _Plan:
    """What is to become of the nodes of a step.

    `kept` gives the operand that an operation leaves as it is, `tables` what is looked up, `fills` what is one number.
    `shapes` are the sizes of each node that has others than before: what is broadcast need not be repeated first.
    """

    def __init__(self, step: Function, store: WeightStore, past: sympy.Symbol, count: int, limit: int) -> None:
        self.step = step
        self.store = store
        self.past = past
        self.limit = limit
        self.values = position_values(step, store, past, count)
        self.kept: dict[Node, Node] = {}
        self.tables: dict[Node, tuple[PositionTable, WeightRef]] = {}
        self.fills: dict[Node, bool | int | float] = {}
        self.shapes: dict[Node, Shape] = {}
        for node in step.computations:
            self._visit(node)

    @property
    def is_empty(self) -> bool:
        """True if the step stays as it is."""
        return not (self.kept or self.tables or self.fills)

    def _visit(self, node: Node) -> None:
        value = self.values.get(node)
        if value is None:
            kept = self._unchanged(node)
            if kept is not None and self._may_be(node, self._shape(kept)):
                self.kept[node] = kept
                self.shapes[node] = self._shape(kept)
        elif all(user in self.values or user in self.kept for user in node.users):
            return
        elif isinstance(value, Uniform):
            self._fill(node, value)
        elif isinstance(value, Table) and not self._is_looked_up(node):
            self._tabulate(node, value)

    def _unchanged(self, node: Node) -> Node | None:
        """The operand that the operation gives as it is, if it is known to."""

        def number(position: int) -> float | None:
            operand = argument_of(node, position)
            value = self.values.get(operand) if isinstance(operand, Node) else None
            return value.number if isinstance(value, Uniform) else None

        if node.kwargs.get("alpha", 1) != 1:
            return None
        if node.target is _aten.where.self:
            condition = number(0)
            kept = None if condition is None else argument_of(node, 1 if condition else 2)
        else:
            neutral = _NEUTRAL.get(node.target, {})
            others = (argument_of(node, 1 - position) for position, same in neutral.items() if number(position) == same)
            kept = next(others, None)
        is_same_type = isinstance(kept, Node) and kept.meta["val"].dtype == node.meta["val"].dtype
        return kept if is_same_type else None

    def _fill(self, node: Node, value: Uniform) -> None:
        is_small = self._may_be(node, ())
        if not is_small and node.target is _aten.full.default:
            return
        self.fills[node] = value.number
        if is_small:
            self.shapes[node] = ()

    def _is_looked_up(self, node: Node) -> bool:
        """True for what this pass leaves: a position, a growing range of them, and a part of a weight at these."""
        if node.target is _aten.scalar_tensor.default:
            return True
        if node.target is _aten.arange.start_step:
            return any(map(self._grows, node.meta["val"].shape))
        first, *others = node.all_input_nodes
        is_indexed = node.target is _aten.index.Tensor and first.name in self.step.weights
        return is_indexed and all(map(self._is_looked_up, others))

    def _tabulate(self, node: Node, value: Table) -> None:
        table = table_of(value.rows)
        shape = self._row_shape(node, value)
        if table is None or not self._may_be(node, shape):
            return
        found = stored(table, weights_under(node, self.step), self.store, self.limit)
        if found is not None:
            self.store, ref = found
            self.tables[node] = (table, ref)
            self.shapes[node] = shape

    def _row_shape(self, node: Node, value: Table) -> Shape:
        """The node's sizes; one where the rows have one and the node has what a broadcast gives it."""
        last = value.rows[-1].shape
        return tuple(
            1 if found == 1 and str(size) != "1" and not self._grows(size) else size
            for size, found in zip(node.meta["val"].shape, last, strict=True)
        )

    def _grows(self, size: int | torch.SymInt) -> bool:
        return self.past in expression_of(size).free_symbols

    # Shapes

    def _shape(self, node: Node) -> Shape:
        return self.shapes.get(node, tuple(node.meta["val"].shape))

    def _may_be(self, node: Node, shape: Shape) -> bool:
        """True if the node may have this shape, which broadcasts to its own, and no user's result changes."""
        if _texts(shape) == _texts(self._shape(node)):
            return True
        return all(is_pointwise(user) and self._is_covered(user, node, shape) for user in node.users)

    def _is_covered(self, user: Node, node: Node, shape: Shape) -> bool:
        """True if each axis of the user's result has its size without the node's own."""
        result = _texts(user.meta["val"].shape)
        operands = (n for n in user.all_input_nodes if values_of(n))
        shapes = [_texts(shape if n is node else self._shape(n)) for n in operands]
        padded = [["1"] * (len(result) - len(sizes)) + sizes for sizes in shapes]
        return all(any(sizes[axis] == size for sizes in padded) for axis, size in enumerate(result))

    # The step anew

    def rewritten(self) -> Function:
        """The step with what is needed of it."""
        step, builder = self.step, GraphBuilder(self.step)
        wanted = needed((node for node in step.results if isinstance(node, Node)), self._operands)
        new = {
            node: builder.placeholder(node.name, node.meta["val"], weight=True)
            for node in step.weight_nodes
            if node in wanted
        }
        lookups = {node: f"{node.name}_by_position" for node in self.tables if node in wanted}
        tables = {
            node: builder.placeholder(name, builder.empty(self.tables[node][1].shape, node.meta["val"].dtype), True)
            for node, name in lookups.items()
        }
        for node in step.input_nodes:
            new[node] = builder.placeholder(node.name, node.meta["val"])
        for node in step.computations:
            if node in wanted:
                builder.source = step.sources.get(node.name)
                new[node] = self._made(node, builder, new, tables)
        results = [new[node] for node in step.results if isinstance(node, Node)]
        function = builder.function(step, step.name, step.signature, results)
        weights = {**function.weights, **{name: self.tables[node][1] for node, name in lookups.items()}}
        return replace(function, weights=weights, time=step.time)

    def _made(self, node: Node, builder: GraphBuilder, new: Mapping[Node, Node], tables: Mapping[Node, Node]) -> Node:
        if node in self.kept:
            return new[self.kept[node]]
        if node in self.tables:
            return self.tables[node][0].look_up(builder, tables[node], self.past)
        if node in self.fills:
            shape = [builder.size(expression_of(size)) for size in self._shape(node)]
            return builder.call(_aten.full.default, shape, self.fills[node], dtype=node.meta["val"].dtype)
        return builder.copy(node, new)

    def _operands(self, node: Node) -> Sequence[Node]:
        if node in self.kept:
            return [self.kept[node]]
        if node in self.tables or node in self.fills:
            return []
        return [n for n in node.all_input_nodes if values_of(n)]


def _texts(shape: Iterable[int | torch.SymInt]) -> list[str]:
    return [str(size) for size in shape]
