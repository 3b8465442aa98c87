"""Branches inside a body: graphs of which `torch.cond` runs one.

A body's module holds them under the names that its get_attr nodes give. A branch sees its operands and nothing
else, so what it needs of the enclosing graph, weights included, is among the arguments of the cond.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import Argument

COND = torch.ops.higher_order.cond


def is_branching(node: Node) -> bool:
    """True for a cond. Its arguments are the condition, two get_attr nodes and the operands."""
    return node.op == "call_function" and node.target is COND


def branches_of(node: Node, owner: torch.nn.Module) -> tuple[GraphModule, GraphModule]:
    """The branches of a cond: for a condition that holds, and for one that does not."""
    then, otherwise = (owner.get_submodule(name) for name in _branch_names(node))
    assert isinstance(then, GraphModule)
    assert isinstance(otherwise, GraphModule)
    return then, otherwise


def operands_of(node: Node) -> tuple[Argument, ...]:
    """What the branches of a cond are given, in the order of their placeholders: nodes or numbers."""
    operands = node.args[3]
    assert isinstance(operands, (list, tuple))
    return tuple(operands)


def held_modules(graph: Graph, *owners: torch.nn.Module | Mapping[str, torch.nn.Module]) -> dict[str, torch.nn.Module]:
    """The modules that a graph's get_attr nodes name, each from the first owner that has it."""
    tables = [owner if isinstance(owner, Mapping) else dict(owner.named_children()) for owner in owners]
    names = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    return {name: next(table[name] for table in tables if name in table) for name in sorted(names)}


def all_graphs(graph: Graph, modules: Mapping[str, torch.nn.Module]) -> Iterator[Graph]:
    """A graph and the graphs of its branches, however deep."""
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


def sweep(graph: Graph, owner: torch.nn.Module) -> tuple[dict[str, torch.nn.Module], int]:
    """Erase what computes something that nobody uses, in the graph and in its branches.

    An operand that neither branch uses goes too. The graph is changed; the branches are copied. Gives the modules
    that the graph now names, and how many nodes were erased. Placeholders of the graph itself stay.
    """
    erased = _erase_unused(graph)
    modules: dict[str, torch.nn.Module] = {}
    for node in filter(is_branching, graph.nodes):
        copies: list[tuple[str, Graph, dict[str, torch.nn.Module]]] = []
        for name, branch in zip(_branch_names(node), branches_of(node, owner), strict=True):
            inner, _ = copied(branch.graph)
            held, count = sweep(inner, branch)
            copies.append((name, inner, held))
            erased += count
        erased += _drop_unused_operands(node, [inner for _, inner, _ in copies])
        modules |= {name: GraphModule(held, inner) for name, inner, held in copies}
    return modules, erased + _erase_unused(graph)


def _branch_names(node: Node) -> tuple[str, str]:
    then, otherwise = node.args[1:3]
    assert isinstance(then, Node)
    assert isinstance(otherwise, Node)
    return str(then.target), str(otherwise.target)


def _erase_unused(graph: Graph) -> int:
    unused = 0
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op in ("call_function", "get_attr"):
            graph.erase_node(node)
            unused += 1
    return unused


def _drop_unused_operands(node: Node, branches: list[Graph]) -> int:
    columns = list(zip(*([n for n in branch.nodes if n.op == "placeholder"] for branch in branches), strict=True))
    used = [any(placeholder.users for placeholder in column) for column in columns]
    for column, keep in zip(columns, used, strict=True):
        for branch, placeholder in zip(branches, column, strict=True):
            if not keep:
                branch.erase_node(placeholder)
    kept = tuple(operand for operand, keep in zip(operands_of(node), used, strict=True) if keep)
    node.args = (*node.args[:3], kept)
    return used.count(False)
