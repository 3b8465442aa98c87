"""The canonical text of functions and programs, and the fingerprint that is a hash of it.

Names in the text are derived from the structure, so two graphs that differ only in node names print alike; the
same text stands in the golden files of the tests. Weights print by digest: a fingerprint covers their content.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

import sympy
import torch
from torch.fx.node import Argument

from artifacts.spec import TensorSpec
from passes.bodies import dim, dims
from passes.program import Function, Program
from passes.subgraphs import has_subgraphs, is_branching, operands_of, placeholders_of, subgraphs_of
from passes.torch_dtypes import logical_dtype


def program_text(program: Program) -> str:
    """The whole program: every model's schedule, then every function, in the order of their names."""
    parts = [
        f"model @{name}{_signature(model.signature.inputs, model.signature.outputs)}\n"
        f"  schedule {model.schedule.model_dump_json()}\n"
        for name, model in sorted(program.models.items())
    ]
    parts += [function_text(function) for _, function in sorted(program.functions.items())]
    return "\n".join(parts)


def fingerprint(program: Program) -> str:
    """SHA-256 of the program's text."""
    return hashlib.sha256(program_text(program).encode()).hexdigest()


def function_text(function: Function) -> str:
    """One function, a line for each weight and each computation."""
    return "\n".join(_lines(function)) + "\n"


def _lines(function: Function) -> Iterator[str]:
    names = _Names(function)
    inputs = ", ".join(
        f"{names[node]}: {_spec_type(spec)}"
        for node, spec in zip(function.input_nodes, function.signature.inputs, strict=True)
    )
    outputs = ", ".join(f"{spec.name}: {_spec_type(spec)}" for spec in function.signature.outputs)
    time = f" time [{', '.join(sorted(function.time))}]" if function.time else ""
    yield f"func @{function.name}({inputs}) -> ({outputs}){time} {{"
    for node in function.weight_nodes:
        ref = function.weights[node.name]
        offset = f"+{ref.offset}" if ref.offset else ""
        yield f"  {names[node]} = weight {ref.digest[:16]}{offset} : {ref.dtype}[{', '.join(map(str, ref.shape))}]"
    yield from _computations(function.graph, function.body.graph_module, names, function.symbols, "  ")
    yield "}"


class _Names:
    """What nodes are called: inputs by the signature, weights and computations by number.

    The numbers are shared by a function and its branches, so that no name stands for two things; those that a
    caller has given away by calling an input "add_0" are left out.
    """

    def __init__(self, function: Function) -> None:
        pairs = zip(function.input_nodes, function.signature.inputs, strict=True)
        self._names = {node: f"%{spec.name}" for node, spec in pairs}
        self._taken = frozenset(self._names.values())
        self._numbers: dict[str, Iterator[int]] = defaultdict(count)
        for node in function.weight_nodes:
            self.add(node, "w")

    def __getitem__(self, node: torch.fx.Node) -> str:
        return self._names[node]

    def add(self, node: torch.fx.Node, stem: str) -> None:
        """Name a node."""
        numbered = (f"%{stem}{number}" for number in self._numbers[stem])
        self._names[node] = next(name for name in numbered if name not in self._taken)

    def alias(self, node: torch.fx.Node, argument: str) -> None:
        """Let a node, the placeholder of a branch, go by what it stands for."""
        self._names[node] = argument


def _computations(
    graph: torch.fx.Graph, owner: torch.nn.Module, names: _Names, symbols: Mapping[str, str], indent: str
) -> Iterator[str]:
    """A line for each computation, and the result; the graphs of a cond or a loop come indented below it."""
    for node in graph.nodes:
        if node.op == "call_function":
            names.add(node, f"{_operator(node)}_")
            # What names the graphs is left out: they come below.
            given = [a for a in node.args if not (isinstance(a, torch.fx.Node) and a.op == "get_attr")]
            arguments = [_argument(a, names, symbols) for a in given]
            arguments += [f"{key}={_argument(a, names, symbols)}" for key, a in sorted(node.kwargs.items())]
            result = _type(node.meta.get("val"), symbols)
            yield f"{indent}{names[node]} = {_target(node)}({', '.join(arguments)}) : {result}"
        if has_subgraphs(node):
            titles = ("then", "else") if is_branching(node) else ("body",)
            for title, inner in zip(titles, subgraphs_of(node, owner), strict=True):
                own = _name_given(node, inner.graph, names)
                declared = ", ".join(f"{names[place]}: {_type(place.meta.get('val'), symbols)}" for place in own)
                yield f"{indent}{title} {f'({declared}) ' if own else ''}{{"
                yield from _computations(inner.graph, inner, names, symbols, f"{indent}  ")
                yield f"{indent}}}"
    results = next(iter(reversed(graph.nodes))).args[0]
    yield f"{indent}return {', '.join(_argument(result, names, symbols) for result in results)}"


def _name_given(node: torch.fx.Node, graph: torch.fx.Graph, names: _Names) -> Sequence[torch.fx.Node]:
    """Name the placeholders of a graph inside: operands by what they stand for, what differs each time by number.

    The latter are given back.
    """
    places, operands = placeholders_of(graph), operands_of(node)
    own = places[: len(places) - len(operands)]
    for place in own:
        names.add(place, "given_")
    for place, operand in zip(places[len(own) :], operands, strict=True):
        names.alias(place, _argument(operand, names, {}))
    return own


def _signature(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> str:
    return f"({', '.join(map(str, inputs))}) -> ({', '.join(map(str, outputs))})"


def _spec_type(spec: TensorSpec) -> str:
    return f"{spec.dtype}[{', '.join(map(str, spec.shape))}]"


def _operator(node: torch.fx.Node) -> str:
    *namespace, name = _target(node).split(".")  # "aten.add.Tensor", the last part being the overload, or "getitem"
    return namespace[-1] if namespace else name


def _target(node: torch.fx.Node) -> str:
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    return getattr(target, "__name__", str(target))


def _argument(argument: Argument, names: _Names, symbols: Mapping[str, str]) -> str:
    if isinstance(argument, torch.fx.Node):
        return names[argument]
    if isinstance(argument, list | tuple):
        return f"[{', '.join(_argument(a, names, symbols) for a in argument)}]"
    if isinstance(argument, torch.dtype):
        return str(logical_dtype(argument))
    return repr(argument)


def _type(value: object, symbols: Mapping[str, str]) -> str:
    if isinstance(value, torch.Tensor):
        return f"{logical_dtype(value.dtype)}[{', '.join(map(str, dims(value, symbols)))}]"
    if isinstance(value, torch.SymInt):
        return f"size {dim(value, symbols)}"
    if isinstance(value, torch.SymBool | torch.SymFloat):
        return str(
            value.node.expr.xreplace(
                {s: sympy.Symbol(symbols.get(str(s), str(s))) for s in value.node.expr.free_symbols}
            )
        )
    if isinstance(value, list | tuple):
        return f"({', '.join(_type(item, symbols) for item in value)})"
    return type(value).__name__
