"""Make and edit the body of a Function. The one place that knows how an ExportedProgram is put together."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.utils._pytree import tree_structure

from artifacts.spec import Dim
from artifacts.weights import WeightRef, WeightStore
from passes.program import WEIGHT_KINDS, Function
from passes.subgraphs import Modules, copied, held_modules
from passes.torch_dtypes import from_numpy, torch_dtype_of


def edited(body: ExportedProgram, graph: torch.fx.Graph, modules: Modules | None = None) -> ExportedProgram:
    """The body with another graph, whose placeholders may be fewer, more, or in the same names.

    `modules` holds branches that replace those of the body. Weight placeholders are those that were weights
    before, or that carry `meta["weight"]`. Their tensors are fake: a body never holds data.
    """
    before = {spec.arg.name: spec for spec in body.graph_signature.input_specs}
    inputs: list[InputSpec] = []
    state: dict[str, torch.Tensor] = {}
    for node in (n for n in graph.nodes if n.op == "placeholder"):
        known = before.get(node.name)
        is_weight = bool(node.meta.get("weight")) or (known is not None and known.kind in WEIGHT_KINDS)
        if is_weight:
            inputs.append(InputSpec(InputKind.BUFFER, TensorArgument(node.name), node.name, persistent=True))
            state[node.name] = node.meta["val"]
        else:
            inputs.append(InputSpec(InputKind.USER_INPUT, TensorArgument(node.name), None))
    output = next(iter(reversed(graph.nodes)))
    outputs = [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(n.name), None) for n in output.args[0]]
    graph.lint()
    calls, example = body.module_call_graph, body.example_inputs
    counts = (sum(spec.kind is InputKind.USER_INPUT for spec in inputs), len(outputs))
    if counts != (len(body.graph_signature.user_inputs), len(body.graph_signature.user_outputs)):
        calls, example = [_call(*counts)], None
    return ExportedProgram(
        root=torch.fx.GraphModule(held_modules(graph, modules or {}, body.graph_module), graph),
        graph=graph,
        graph_signature=ExportGraphSignature(inputs, outputs),
        state_dict=state,
        range_constraints=body.range_constraints,
        module_call_graph=calls,
        example_inputs=example,
        constants={},
    )


def _call(inputs: int, outputs: int) -> ModuleCallEntry:
    """How a body is called: so many tensors in, and so many out."""
    takes, gives = tree_structure(((0,) * inputs, {})), tree_structure((0,) * outputs)
    return ModuleCallEntry("", ModuleCallSignature([], [], takes, gives))


def copied_graph(body: ExportedProgram) -> tuple[torch.fx.Graph, dict[torch.fx.Node, torch.fx.Node]]:
    """A copy of the body's graph to edit, node names kept, and the map from old nodes to new ones."""
    return copied(body.graph)


def rewritten(
    function: Function, graph: torch.fx.Graph, weights: Mapping[str, WeightRef], sources: Mapping[str, str]
) -> Function:
    """The function with another graph, without what nothing uses in it: computations and weights, not inputs."""
    graph.eliminate_dead_code()
    for node in [n for n in graph.nodes if n.op == "placeholder" and n.name in weights and not n.users]:
        graph.erase_node(node)
    names = {node.name for node in graph.nodes}
    return replace(
        function,
        body=edited(function.body, graph),
        weights={name: ref for name, ref in weights.items() if name in names},
        sources={name: source for name, source in sources.items() if name in names},
    )


def inserted_weight(graph: torch.fx.Graph, weights: Collection[str], name: str, value: torch.Tensor) -> torch.fx.Node:
    """A placeholder for one more weight, behind the others, which are named in `weights`; `value` is fake."""
    placeholders = itertools.takewhile(lambda node: node.op == "placeholder", graph.nodes)
    placed = [node for node in placeholders if node.name in weights]
    # torch wants weights before inputs.
    with graph.inserting_after(placed[-1]) if placed else graph.inserting_before():
        node: torch.fx.Node = graph.placeholder(name)
    node.meta = {"val": value, "weight": True}
    return node


def weight_placeholder(
    graph: torch.fx.Graph, weights: dict[str, WeightRef], name: str, ref: WeightRef, like: torch.fx.Node
) -> torch.fx.Node:
    """The placeholder of a weight in a graph that is edited: one that is there, or a new one, added to `weights`.

    `like` is any node of the graph's world.
    """
    for node in graph.nodes:
        if node.op == "placeholder" and weights.get(node.name) == ref:
            found: torch.fx.Node = node
            return found
    with like.meta["val"].fake_mode:
        shown = torch.empty(ref.shape, dtype=torch_dtype_of(ref.dtype))
    node = inserted_weight(graph, weights, name, shown)
    weights[node.name] = ref
    return node


def with_weights(function: Function, store: WeightStore) -> ExportedProgram:
    """The body with its weights as real buffers: what torch.export saves and any user of torch can call."""
    body = edited(function.body, copied_graph(function.body)[0])
    tensors = {name: from_numpy(store.array(ref), ref.dtype) for name, ref in function.weights.items()}
    return body._update(body.graph_module, body.graph_signature, state_dict=tensors)


def dims(value: torch.Tensor, symbols: Mapping[str, str]) -> tuple[Dim, ...]:
    """The shape of a node's fake value: sizes, names of symbols, or expressions over them ("2*seq + 1")."""
    return tuple(dim(size, symbols) for size in value.shape)


def dim(size: int | torch.SymInt, symbols: Mapping[str, str]) -> Dim:
    """One size as a number, the name of its symbol, or an expression over such names."""
    if not isinstance(size, torch.SymInt):
        return int(size)
    expression = size.node.expr
    if expression.is_number:
        return int(expression)
    return str(expression.xreplace({s: sympy.Symbol(symbols.get(str(s), str(s))) for s in expression.free_symbols}))


def without_long_sums(graph: torch.fx.Graph) -> None:
    """Write torch's sums of many sizes as additions of two: torch.export cannot save the former."""
    for node in [n for n in graph.nodes if n.target is torch.sym_sum]:
        terms = node.args[0] if isinstance(node.args[0], (list, tuple)) else node.args
        total, *others = terms
        with graph.inserting_before(node):
            for term in others:
                size = _size_of(total) + _size_of(term)
                total = graph.call_function(operator.add, (total, term))
                total.meta["val"] = size
        node.replace_all_uses_with(total)
        graph.erase_node(node)


def _size_of(argument: torch.fx.node.Argument) -> Any:
    return argument.meta["val"] if isinstance(argument, torch.fx.Node) else argument


def without_metadata(nodes: Iterable[torch.fx.Node]) -> None:
    """Keep only the fake value of each node: stack traces hold paths and line numbers of this machine."""
    for node in nodes:
        node.meta = {key: node.meta[key] for key in ("val", "weight") if key in node.meta}
