"""Build a graph node by node, each with its fake value: for passes that write a body anew instead of editing one."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sympy
import torch
from torch._dynamo.source import ConstantSource
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv
from torch.fx.node import Argument
from torch.utils._sympy.functions import CleanDiv, FloorDiv, Max, Min, Mod, PowByNatural, PythonMod

from artifacts.spec import Signature
from passes.bodies import edited
from passes.program import Function

_BINARY: Mapping[type, Any] = {
    sympy.Add: operator.add,
    sympy.Mul: operator.mul,
    FloorDiv: operator.floordiv,
    CleanDiv: operator.floordiv,
    Mod: operator.mod,
    PythonMod: operator.mod,
    sympy.Pow: operator.pow,
    PowByNatural: operator.pow,
    Max: torch.sym_max,
    Min: torch.sym_min,
}


class NoSizeError(ValueError):
    """No input of the graph that is being built tells a size."""


class GraphBuilder:
    """A new graph in the fake world of a function's body.

    Placeholders of weights come before those of inputs, as torch wants them. `sources` collects the source node
    of each node that is made while `source` is set.
    """

    def __init__(self, function: Function) -> None:
        self.graph = Graph()
        self.symbols = dict(function.symbols)
        self.sources: dict[str, str] = {}
        self.source: str | None = None
        self._mode = function.placeholders[0].meta["val"].fake_mode
        self._sizes: dict[sympy.Expr, Node] = {}

    def placeholder(self, name: str, value: torch.Tensor, weight: bool = False) -> Node:
        """A new input with a fake value."""
        node = self.graph.placeholder(name)
        node.meta = {"val": value, "weight": True} if weight else {"val": value}
        return node

    def symbol(self, name: str) -> torch.SymInt:
        """A size that is new to the function, 0 or more, and goes by a name of its own."""
        environment: ShapeEnv = self._mode.shape_env
        source = ConstantSource(name)
        symbol = environment.create_symbol(
            _HINT, source, DimDynamic.DYNAMIC, constraint_dim=None, do_not_specialize_zero_one=True
        )
        self.symbols[str(symbol)] = name
        size = environment.create_symintnode(symbol, hint=_HINT, source=source)
        assert isinstance(size, torch.SymInt)
        return size

    def empty(self, shape: Sequence[int | torch.SymInt], dtype: torch.dtype) -> torch.Tensor:
        """A fake tensor, the value of a placeholder."""
        with self._mode:
            return torch.empty(tuple(shape), dtype=dtype)

    def call(self, target: Any, *args: Argument, **kwargs: Argument) -> Node:
        """A node that computes something. Raises what the operator raises for sizes that do not fit."""
        node = self.graph.call_function(target, args, kwargs)
        given = torch.fx.map_arg((args, kwargs), lambda n: n.meta["val"])
        with self._mode:
            node.meta["val"] = target(*given[0], **given[1])
        if self.source is not None:
            self.sources[node.name] = self.source
        return node

    def copy(self, node: Node, new: Mapping[Node, Node]) -> Node:
        """The node again, on what its operands have become; sizes are computed from this graph's own inputs.

        A branch is named as before: the body holds it under that name.
        """

        def argument(old: Node) -> Argument:
            if old.op == "get_attr":
                return self.graph.get_attr(str(old.target))
            return new[old] if values_of(old) else self.size(old.meta["val"].node.expr)

        target, args, kwargs = node.target, *torch.fx.map_arg((node.args, node.kwargs), argument)
        made = self.graph.create_node(node.op, target, args, kwargs, name=node.name)
        made.meta = {"val": node.meta["val"]}
        return made

    def size(self, expression: sympy.Expr | int) -> int | Node:
        """A number, or a node that computes the expression from the sizes of the placeholders.

        Raises NoSizeError if they do not tell it.
        """
        if isinstance(expression, int) or expression.is_number:
            return int(expression)
        if expression not in self._sizes:
            self._sizes[expression] = self._compute(expression)
        return self._sizes[expression]

    def tells(self, node: Node) -> None:
        """Take a node that makes a size of a value for where that size comes from."""
        self._sizes[node.meta["val"].node.expr] = node

    def _compute(self, expression: sympy.Expr) -> Node:
        for node, axis, size in self._axes():
            if size == expression or (expression.is_Symbol and size.is_Symbol and self._same(size, expression)):
                return self.call(torch.ops.aten.sym_size.int, node, axis)
        compute = _BINARY.get(type(expression))
        if compute is None:
            raise NoSizeError(f"no input tells the size {self.named(expression)}")
        first, *others = (self.size(argument) for argument in expression.args)
        for other in others:
            first = self.call(compute, first, other)
        assert isinstance(first, Node)
        return first

    def _axes(self) -> Iterator[tuple[Node, int, sympy.Expr]]:
        for node in self.graph.nodes:
            value = node.meta.get("val")
            if node.op == "placeholder" and "weight" not in node.meta and isinstance(value, torch.Tensor):
                for axis, size in enumerate(value.shape):
                    if isinstance(size, torch.SymInt):
                        yield node, axis, size.node.expr

    def _same(self, one: sympy.Symbol, other: sympy.Symbol) -> bool:
        """Two symbols under one name of the source are one size."""
        return str(other) in self.symbols and self.symbols.get(str(one)) == self.symbols[str(other)]

    def function(self, origin: Function, name: str, signature: Signature, results: Sequence[Node]) -> Function:
        """What was built, as a function over the weights of the one that it comes from.

        Raises torch's error if the graph is not well formed.
        """
        self.graph.output(tuple(results))
        names = {node.name for node in self.graph.nodes}
        return Function(
            name=name,
            signature=signature,
            body=edited(origin.body, self.graph),
            weights={weight: ref for weight, ref in origin.weights.items() if weight in names},
            symbols=self.symbols,
            sources={n: s for n, s in origin.sources.items() if n in names} | self.sources,
        )

    def named(self, expression: sympy.Expr) -> str:
        """The expression in the source's names of its symbols."""
        names = {s: sympy.Symbol(self.symbols.get(str(s), str(s))) for s in expression.free_symbols}
        return str(expression.xreplace(names))


_HINT = 5
"""What torch takes a new size to be where it has to decide: neither 0 nor 1, and no size of a sample."""


def expression_of(size: int | torch.SymInt) -> sympy.Expr:
    """A size as sympy has it."""
    expression: sympy.Expr = size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)
    return expression


def values_of(node: Node) -> tuple[torch.Tensor, ...]:
    """The tensors that a node gives: one, several, or none for a size."""
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor):
        return (value,)
    return tuple(v for v in value if isinstance(v, torch.Tensor)) if isinstance(value, list | tuple) else ()
