"""Graphs inside a body: branches, of which `torch.cond` runs one, and the bodies of loops.

A body's module holds them under the names that its get_attr nodes give. Such a graph sees what it is given and nothing
else, so what it needs of the enclosing graph, weights included, is among the arguments of the cond or the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import Argument

from passes.dialect import LOOP

COND = torch.ops.higher_order.cond

Modules: TypeAlias = Mapping[str, torch.nn.Module]
"""What get_attr nodes of a graph name."""


def is_branching(node: Node) -> bool:
    """True for a cond. Its arguments are the condition, two get_attr nodes and the operands."""
    return node.op == "call_function" and node.target is COND


def is_looping(node: Node) -> bool:
    """True for a loop. Its arguments are a get_attr node, the count, the condition, what is carried, the operands."""
    return node.op == "call_function" and node.target is LOOP


def has_subgraphs(node: Node) -> bool:
    """True for a node that runs graphs of its own."""
    return is_branching(node) or is_looping(node)


def subgraphs_of(node: Node, owner: torch.nn.Module) -> tuple[GraphModule, ...]:
    """The branches of a cond, for a condition that holds and for one that does not; the body of a loop."""
    modules = [owner.get_submodule(name) for name in _names(node)]
    return tuple(module for module in modules if isinstance(module, GraphModule))


def operands_of(node: Node) -> tuple[Argument, ...]:
    """What the graphs of a cond or a loop are given, in the order of their last placeholders: nodes or numbers."""
    operands = node.args[-1]
    assert isinstance(operands, (list, tuple))
    return tuple(operands)


def placeholders_of(graph: Graph) -> tuple[Node, ...]:
    """What a graph is given."""
    return tuple(node for node in graph.nodes if node.op == "placeholder")


def held_modules(graph: Graph, *owners: torch.nn.Module | Modules) -> dict[str, torch.nn.Module]:
    """The modules that a graph's get_attr nodes name, each from the first owner that has it."""
    tables = [owner if isinstance(owner, Mapping) else dict(owner.named_children()) for owner in owners]
    names = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    return {name: next(table[name] for table in tables if name in table) for name in sorted(names)}


def all_graphs(graph: Graph, modules: Modules) -> Iterator[Graph]:
    """A graph and the graphs inside it, however deep."""
    yield graph
    for module in modules.values():
        if isinstance(module, GraphModule):
            yield from all_graphs(module.graph, dict(module.named_children()))


def copied(graph: Graph) -> tuple[Graph, dict[Node, Node]]:
    """A copy of a graph, node names kept, and the map from old nodes to new ones."""
    copy = Graph()
    mapping: dict[Node, Node] = {}
    for node in graph.nodes:
        mapping[node] = copy.node_copy(node, lambda old: mapping[old])
        mapping[node].name = node.name
    return copy, mapping


def sweep(graph: Graph, owner: torch.nn.Module) -> tuple[Modules, int]:
    """Erase what computes something that nobody uses, in the graph and in those inside it.

    An operand that none of these uses goes too. The graph is changed; those inside are copied. Gives the modules
    that the graph now names, and how many nodes were erased. Placeholders of the graph itself stay.
    """
    return _edit(graph, owner, erase_unused, _drop_unused_operands)


def merge_operands(graph: Graph, owner: torch.nn.Module) -> Modules:
    """Hand every operand in once: torch takes two of one tensor for a danger. Otherwise like `sweep`."""
    return _edit(graph, owner, lambda _: 0, _merge_equal_operands)[0]


def edit_graphs(graph: Graph, owner: torch.nn.Module, edit: Callable[[Graph], int]) -> tuple[Modules, int]:
    """Apply an edit, which says how much it changed, to the graph and to copies of those inside it.

    Gives the modules that the graph now names, and the sum of what the edit said.
    """
    return _edit(graph, owner, edit, lambda _node, _graphs: 0)


def _edit(
    graph: Graph,
    owner: torch.nn.Module,
    edit: Callable[[Graph], int],
    edit_operands: Callable[[Node, list[Graph]], int],
) -> tuple[Modules, int]:
    count = edit(graph)
    modules: dict[str, torch.nn.Module] = {}
    for node in filter(has_subgraphs, graph.nodes):
        copies: list[tuple[str, Graph, Modules]] = []
        for name, subgraph in zip(_names(node), subgraphs_of(node, owner), strict=True):
            inner, _ = copied(subgraph.graph)
            held, inside = _edit(inner, subgraph, edit, edit_operands)
            copies.append((name, inner, held))
            count += inside
        count += edit_operands(node, [inner for _, inner, _ in copies])
        modules |= {name: GraphModule(dict(held), inner) for name, inner, held in copies}
    return modules, count + edit(graph)


def _names(node: Node) -> tuple[str, ...]:
    """What the graphs of a cond or a loop are called."""
    given = (argument for argument in node.args if isinstance(argument, Node))
    return tuple(str(argument.target) for argument in given if argument.op == "get_attr")


def erase_unused(graph: Graph) -> int:
    """Erase what computes something that nobody uses, in one graph; how many nodes that were."""
    unused = 0
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op in ("call_function", "get_attr"):
            graph.erase_node(node)
            unused += 1
    return unused


def _drop_unused_operands(node: Node, graphs: list[Graph]) -> int:
    used = [any(placeholder.users for placeholder in column) for column in _places(node, graphs)]
    _keep_operands(node, graphs, used)
    return used.count(False)


def _merge_equal_operands(node: Node, graphs: list[Graph]) -> int:
    operands = operands_of(node)
    first = [operands.index(operand) if isinstance(operand, Node) else i for i, operand in enumerate(operands)]
    columns = _places(node, graphs)
    for column, original in zip(columns, first, strict=True):
        for placeholder, kept in zip(column, columns[original], strict=True):
            if placeholder is not kept:
                placeholder.replace_all_uses_with(kept)
    keep = [i == original for i, original in enumerate(first)]
    _keep_operands(node, graphs, keep)
    return keep.count(False)


def _places(node: Node, graphs: list[Graph]) -> list[tuple[Node, ...]]:
    """For each operand, its placeholder in every graph."""
    count = len(operands_of(node))
    given = [placeholders_of(graph) for graph in graphs]
    return list(zip(*(places[len(places) - count :] for places in given), strict=True))


def _keep_operands(node: Node, graphs: list[Graph], keep: list[bool]) -> None:
    for column, kept in zip(_places(node, graphs), keep, strict=True):
        for graph, placeholder in zip(graphs, column, strict=True):
            if not kept:
                graph.erase_node(placeholder)
    node.args = (*node.args[:-1], tuple(o for o, kept in zip(operands_of(node), keep, strict=True) if kept))
