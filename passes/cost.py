"""What a call of a function costs, told from its graph: expressions over the function's sizes.

The figures are those of the algorithm, whatever an engine makes of it: a graph is counted as it stands.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import sympy
import torch
from torch.fx import Node
from torch.fx.node import Argument

from artifacts.errors import PassError
from artifacts.report import Work
from passes.program import Function
from passes.subgraphs import has_subgraphs, is_branching, subgraphs_of

Shape: TypeAlias = tuple[sympy.Expr, ...]
Sizes: TypeAlias = Mapping[sympy.Symbol, int]


@dataclass(frozen=True)
class Cost:
    """What is done and read.

    `flops` are the operations of products, convolutions, attention and recurrences' products, two for each
    multiplication with its addition; integers are counted like floating-point numbers. `elements` are the elements that
    everything else computes, of a reduction those that it reads: nothing for a view. `instructions` are the operations
    of the graph that give tensors, views among them; a branch counts as the dearer of its two, and the body of a loop
    as often as it runs. `weight_bytes` are read: of a table that is only looked up in, the rows.
    """

    flops: sympy.Expr = sympy.S.Zero
    elements: sympy.Expr = sympy.S.Zero
    instructions: sympy.Expr = sympy.S.Zero
    weight_bytes: sympy.Expr = sympy.S.Zero

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops,
            self.elements + other.elements,
            self.instructions + other.instructions,
            self.weight_bytes + other.weight_bytes,
        )

    def times(self, count: sympy.Expr) -> Cost:
        """The cost of what is done so often. Weights are read once."""
        return Cost(self.flops * count, self.elements * count, self.instructions * count, self.weight_bytes)

    def at(self, sizes: Sizes) -> Cost:
        """The cost with sizes put in, of which some may be left out."""
        return Cost(*(value.subs(sizes) for value in self._values))

    def work(self) -> Work:
        """The cost in numbers. Raises PassError if a size is not known."""
        unknown = sorted({str(symbol) for value in self._values for symbol in value.free_symbols})
        if unknown:
            raise PassError.of("cost", ", ".join(unknown), "is not known, and the cost depends on it")
        flops, elements, instructions, weight_bytes = (int(value) for value in self._values)
        return Work(flops=flops, elements=elements, instructions=instructions, weight_bytes=weight_bytes)

    @property
    def _values(self) -> tuple[sympy.Expr, ...]:
        return (self.flops, self.elements, self.instructions, self.weight_bytes)


def function_cost(function: Function, left_out: str | None = None) -> Cost:
    """The cost of one call, over the symbols of the function's body; without what only the output left out needs."""
    done = set(function.graph.nodes) if left_out is None else _needed(function, left_out)
    graph_cost = _graph_cost((node for node in function.graph.nodes if node in done), function.body.graph_module)
    return graph_cost + Cost(weight_bytes=_sum(_weight_bytes(node, done) for node in function.weight_nodes))


def _needed(function: Function, left_out: str) -> set[Node]:
    """The nodes that the other outputs are computed from."""
    outputs = zip(function.signature.outputs, function.results, strict=True)
    waiting = [node for spec, node in outputs if spec.name != left_out and isinstance(node, Node)]
    found: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found


def bound_sizes(function: Function, shapes: Mapping[str, Sequence[int]]) -> dict[sympy.Symbol, int]:
    """The body's symbols for inputs of these shapes, by the names of the signature; more inputs may be given."""
    found: dict[sympy.Symbol, int] = {}
    for node, spec in zip(function.input_nodes, function.signature.inputs, strict=True):
        if spec.name in shapes:
            for size, given in zip(_shape(node), shapes[spec.name], strict=True):
                if isinstance(size, sympy.Symbol):
                    found[size] = int(given)
    return found


def is_instruction(node: Node, value: object) -> bool:
    """True for what `instructions` counts: `value` is a node's result, fake or real."""
    return node.op == "call_function" and node.target is not operator.getitem and bool(_tensors(value))


def _graph_cost(nodes: Iterable[Node], owner: torch.nn.Module) -> Cost:
    total = Cost()
    for node in nodes:
        if has_subgraphs(node):
            inside = [_graph_cost(inner.graph.nodes, inner) for inner in subgraphs_of(node, owner)]
            total += _dearer(inside) if is_branching(node) else inside[0].times(_iterations(node))
        if is_instruction(node, node.meta.get("val")):
            total += Cost(_flops(node), _elements(node), sympy.S.One)
    return total


def _dearer(costs: Iterable[Cost]) -> Cost:
    one, other = costs
    return Cost(*(sympy.Max(a, b) for a, b in zip(one._values, other._values, strict=True)))


def _iterations(node: Node) -> sympy.Expr:
    """How often a loop runs: as its count says if that is a size and the body has no say in it, else an unknown."""
    _, count, going, *_ = node.args
    size = count.meta["val"] if isinstance(count, Node) else count
    if going is None and isinstance(size, (int, torch.SymInt)):
        return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)
    return sympy.Symbol(f"iterations of {node.name}", integer=True, nonnegative=True)


def _flops(node: Node) -> sympy.Expr:
    formula = _FORMULAS.get(_name(node))
    return sympy.S.Zero if formula is None else 2 * formula(node)


def _elements(node: Node) -> sympy.Expr:
    name = _name(node)
    if name in _FORMULAS or name in _VIEWS or has_subgraphs(node):
        return sympy.S.Zero
    results = _sum(_numel(_sizes(tensor)) for tensor in _tensors(node.meta["val"]))
    if torch.Tag.reduction in getattr(node.target, "tags", ()) or name in _REDUCTIONS:
        return _numel(_shape(node.args[0]))
    return results


def _weight_bytes(node: Node, done: Collection[Node]) -> sympy.Expr:
    """Bytes of a weight that are read. One that is only looked up in is read as far as it is looked up."""
    width = node.meta["val"].element_size()
    users = [user for user in node.users if user in done]
    lookups = [read for user in users if (read := _looked_up(node, user)) is not None]
    if len(lookups) == len(users):
        return _sum(lookups) * width
    return _numel(_shape(node)) * width


def _looked_up(table: Node, user: Node) -> sympy.Expr | None:
    """How many elements of a table are read if it is looked up in; None if it is read whole."""
    if _name(user) in _LOOKUPS and table not in user.all_input_nodes[1:]:
        return _numel(_shape(user))
    if _name(user) == _CHOICE and table in user.args[2:4] and table not in user.args[4:]:
        return _shape(user.args[0])[0] * user.args[-1] * _numel(_shape(table)[1:])  # the candidates' rows, and biases
    if _name(user) == "unspool.quantized_embedding":
        return _numel(_shape(user.args[2])) * _numel(_shape(table)[1:])
    return None


def _product(left: int) -> Callable[[Node], sympy.Expr]:
    """Multiplications of a product whose left operand [..., K] is the argument at a position: results times K."""
    return lambda node: _numel(_shape(node)) * _shape(node.args[left])[-1]


def _quantized_product(node: Node) -> sympy.Expr:
    """Results times terms of each, whatever their bits."""
    return _numel(_shape(node)) * _shape(node.args[0])[-1]


def _convolution(node: Node) -> sympy.Expr:
    """Every result is a sum over the kernel and the channels of its group: weights [out, in / groups, *kernel]."""
    if _is_transposed(node):  # every input element meets a kernel instead: weights [in, out / groups, *kernel]
        return _numel(_shape(node.args[0])) * _numel(_shape(node.args[1])[1:])
    return _numel(_shape(node)) * _numel(_shape(node.args[1])[1:])


def _is_transposed(node: Node) -> bool:
    name = _name(node)
    return "transpose" in name or (name == "aten.convolution" and bool(node.args[6]))


def _attention(node: Node) -> sympy.Expr:
    """Scores [..., L, S] over E, and their product with values [..., S, V]."""
    query, key, value = (_shape(argument) for argument in node.args[:3])
    return _numel(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _cached_attention(node: Node) -> sympy.Expr:
    """The same for the keys and values [batch, heads, S, size] that it gives, which are the kept and the new ones."""
    _, keys, values = (_sizes(tensor) for tensor in _tensors(node.meta["val"]))
    rows = _shape(node.args[0])[1]
    return keys[0] * keys[1] * rows * keys[2] * (keys[3] + values[3])


def _memory_attention(node: Node) -> sympy.Expr:
    """The same for the keys and values [batch, heads, S, size] that it takes."""
    rows, keys, values = _shape(node.args[0])[1], *(_shape(argument) for argument in node.args[1:3])
    return keys[0] * keys[1] * rows * keys[2] * (keys[3] + values[3])


def _einsum(node: Node) -> sympy.Expr:
    """Every combination of indices is one multiplication. Two operands, or one, in which nothing is multiplied."""
    equation, operands = node.args[0], node.args[1]
    assert isinstance(operands, (list, tuple))
    shapes = [_shape(operand) for operand in operands]
    if len(shapes) < 2:
        return sympy.S.Zero
    sizes: dict[str, sympy.Expr] = {}
    for labels, shape in zip(str(equation).replace(" ", "").split("->")[0].split(","), shapes, strict=True):
        before, ellipsis, after = labels.partition("...")
        middle = len(shape) - len(before) - len(after)
        names = [*before, *(f"...{middle - i}" for i in range(middle) if ellipsis), *after]
        for label, size in zip(names, shape, strict=True):
            sizes[label] = sympy.Max(sizes.get(label, sympy.Integer(1)), size)
    return _numel(sizes.values())


def _choice(node: Node) -> sympy.Expr:
    """Of each row, all tokens in integers, the two factors of their bounds, and the candidates exactly.

    The full product, where a bound does not prove the choice, is not expected.
    """
    hidden, (size, tokens), candidates = _shape(node.args[0]), _shape(node.args[4]), node.args[-1]
    return hidden[0] * (size * tokens + 2 * tokens + candidates * size)


def _recurrence(node: Node) -> sympy.Expr:
    """Every step of every row and direction multiplies [G * H, F] with the input and [G * H, H] with the state."""
    x, w, r = (_shape(argument) for argument in node.args[:3])
    return x[0] * x[1] * (_numel(w) + _numel(r))


_CHOICE = "unspool.two_stage_choice"

_FORMULAS: Mapping[str, Callable[[Node], sympy.Expr]] = {
    **dict.fromkeys(("aten.mm", "aten.bmm", "aten.matmul", "aten.linear", "aten.mv", "aten.dot"), _product(0)),
    **dict.fromkeys(("aten.addmm", "aten.baddbmm", "aten.addmv"), _product(1)),
    **dict.fromkeys(
        (
            "aten.convolution",
            *(f"aten.conv{d}d" for d in (1, 2, 3)),
            "aten.conv_transpose1d",
            *(f"aten.conv_transpose{d}d" for d in (2, 3)),
        ),
        _convolution,
    ),
    "aten.scaled_dot_product_attention": _attention,
    "aten.einsum": _einsum,
    "unspool.attention": _memory_attention,
    "unspool.cached_attention": _cached_attention,
    "unspool.quantized_linear": _quantized_product,
    _CHOICE: _choice,
    **dict.fromkeys(("unspool.gru", "unspool.lstm", "unspool.rnn"), _recurrence),
}
"""Multiplications of the operators that multiply and add up."""

_VIEWS = frozenset(
    f"aten.{name}"
    for name in (
        *("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "permute", "transpose", "t", "expand", "flatten"),
        *("slice", "select", "alias", "detach", "unbind", "split", "split_with_sizes", "chunk", "narrow", "movedim"),
        *("unflatten", "expand_as", "view_as", "diagonal", "numpy_T", "swapaxes", "broadcast_to", "lift_fresh_copy"),
    )
)
"""Operators that compute nothing: another look at the same elements."""

_REDUCTIONS = frozenset(
    f"aten.{name}"
    for name in (
        *("sum", "mean", "prod", "amax", "amin", "max", "min", "argmax", "argmin", "any", "all", "logsumexp"),
        *("var", "std", "linalg_vector_norm", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
    )
)
_LOOKUPS = frozenset({"aten.embedding", "aten.index", "aten.index_select", "aten.gather"})


def _name(node: Node) -> str:
    return str(getattr(node.target, "overloadpacket", node.target))


def _tensors(value: object) -> list[torch.Tensor]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [item for item in values if isinstance(item, torch.Tensor)]


def _shape(argument: Argument) -> Shape:
    assert isinstance(argument, Node)
    return _sizes(argument.meta["val"])


def _sizes(tensor: torch.Tensor) -> Shape:
    return tuple(
        size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(int(size)) for size in tensor.shape
    )


def _numel(sizes: Iterable[sympy.Expr]) -> sympy.Expr:
    return math.prod(sizes, start=sympy.S.One)


def _sum(values: Iterable[sympy.Expr]) -> sympy.Expr:
    return sum(values, start=sympy.S.Zero)
