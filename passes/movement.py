"""What the operators of a function that compute nothing move: their number, and the bytes that they read and write."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import sympy
import torch
from torch.fx import Node

from artifacts.errors import PassError
from artifacts.report import Movement
from artifacts.schedule import Decode
from artifacts.spec import Dim
from passes.graph_builder import expression_of, values_of
from passes.program import Function, Model, Program
from passes.redundant_casts import CASTS
from passes.redundant_pieces import PIECES
from passes.redundant_views import COPIES, VIEWS
from passes.subgraphs import has_subgraphs, is_branching, subgraphs_of
from passes.turns import TURNS

_aten = torch.ops.aten

_READ_WHOLE = COPIES | {
    *TURNS,
    *CASTS,
    *(_aten.t.default, _aten.numpy_T.default, _aten.cat.default, _aten.stack.default, _aten.flip.default),
    *(_aten.expand.default, _aten.repeat.default, _aten.constant_pad_nd.default, _aten.roll.default),
}
"""Operators that read all of their operands: those that repeat elements read each of them once."""

_READ_IN_PART = PIECES | {
    *(_aten.index.Tensor, _aten.index_select.default, _aten.gather.default, _aten.embedding.default)
}
"""Operators that read what they write and no more of their operands."""


@dataclass(frozen=True)
class Moved:
    """Operators that only move elements, and the bytes that they read and write, over the symbols of a function.

    A view is an operator and moves nothing, as does a cast to the type that is there. A branch counts as the one of
    the two that moves more, and the body of a loop as if it ran once.
    """

    operators: sympy.Expr = sympy.S.Zero
    bytes: sympy.Expr = sympy.S.Zero

    def __add__(self, other: Moved) -> Moved:
        return Moved(self.operators + other.operators, self.bytes + other.bytes)


def moved(function: Function) -> Moved:
    """What one call moves, over the source's names of sizes."""
    names = {sympy.Symbol(s): sympy.Symbol(name) for s, name in function.symbols.items()}
    found = _graph_moved(function.graph.nodes, function.body.graph_module)
    plain = {s: sympy.Symbol(str(s)) for s in found.bytes.free_symbols | found.operators.free_symbols}
    return Moved(*(value.xreplace(plain).xreplace(names) for value in (found.operators, found.bytes)))


def movements(program: Program, after: str) -> tuple[Movement, ...]:
    """What each function of each model moves in one call, at the sizes of the model's first sample.

    A step with a cache has as many tokens behind it as the sample has, but the last. A function whose sizes the
    sample does not tell, because they depend on data, is left out.
    """
    found: dict[str, Movement] = {}
    for model in program.models.values():
        sizes = _sample_sizes(model, [program.functions[name] for name in model.schedule.functions])
        for name in model.schedule.functions:
            with contextlib.suppress(PassError):
                found[name] = _at(moved(program.functions[name]), sizes, name, after)
    return tuple(found.values())


def _at(figures: Moved, sizes: Mapping[sympy.Symbol, int], function: str, after: str) -> Movement:
    operators, moved_bytes = (value.subs(sizes) for value in (figures.operators, figures.bytes))
    unknown = ", ".join(sorted(map(str, operators.free_symbols | moved_bytes.free_symbols)))
    if unknown:
        raise PassError.of("movement", unknown, "is not known, and what is moved depends on it")
    return Movement(function=function, after=after, operators=int(operators), bytes=int(moved_bytes))


def _sample_sizes(model: Model, functions: Collection[Function]) -> dict[sympy.Symbol, int]:
    """The sizes that the first sample of a model has, by the source's names."""
    if not model.samples:
        return {}
    inputs = model.samples[0].inputs
    found: dict[sympy.Symbol, int] = {}
    for spec in model.signature.inputs:
        found |= _bound(spec.shape, inputs[spec.name].shape)
    schedule = model.schedule
    if isinstance(schedule, Decode) and schedule.state == "cached":
        past = max(inputs[schedule.tokens].shape[1] - 1, 0)
        for function in functions:
            specs = {spec.name: spec for spec in function.signature.inputs}
            for slot in schedule.slots:
                if slot.axis is not None and slot.input in specs:
                    found |= _bound([specs[slot.input].shape[slot.axis]], [past])
    return found


def _bound(dims: Iterable[Dim], sizes: Iterable[int]) -> dict[sympy.Symbol, int]:
    return {sympy.Symbol(dim): size for dim, size in zip(dims, sizes, strict=True) if isinstance(dim, str)}


def _graph_moved(nodes: Iterable[Node], owner: torch.nn.Module) -> Moved:
    total = Moved()
    for node in nodes:
        if has_subgraphs(node):
            inside = [_graph_moved(inner.graph.nodes, inner) for inner in subgraphs_of(node, owner)]
            total += _more(*inside) if is_branching(node) else inside[0]
        total += _node_moved(node)
    return total


def _more(one: Moved, other: Moved) -> Moved:
    return Moved(sympy.Max(one.operators, other.operators), sympy.Max(one.bytes, other.bytes))


def _node_moved(node: Node) -> Moved:
    if node.target not in VIEWS | _READ_WHOLE | _READ_IN_PART:
        return Moved()
    written = _bytes(node)
    operands = sum((_bytes(operand) for operand in _data(node)), start=sympy.S.Zero)
    if node.target in VIEWS - COPIES or (node.target in CASTS and operands == written and _is_of_its_type(node)):
        return Moved(sympy.S.One)
    return Moved(sympy.S.One, written + (operands if node.target in _READ_WHOLE else written))


def _data(node: Node) -> list[Node]:
    """What the elements come from: tables, not indices."""
    first = node.args[0]
    return [n for n in (first if isinstance(first, (list, tuple)) else [first]) if isinstance(n, Node)]


def _is_of_its_type(node: Node) -> bool:
    return bool(node.meta["val"].dtype == node.all_input_nodes[0].meta["val"].dtype)


def _bytes(node: Node) -> sympy.Expr:
    total = sympy.S.Zero
    for value in values_of(node):
        size = sympy.Integer(value.element_size())
        for dim in value.shape:
            size *= expression_of(dim)
        total += size
    return total
