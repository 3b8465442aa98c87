"""Whether the graphs of an ONNX file hang together, told before anything is built from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import onnx

from artifacts.errors import Problem

STAGE = "load"

_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)

_Scopes = Sequence[Collection[str]]
"""The names of the graphs around one, outermost first; one set of them all would be copied for every subgraph."""


def graph_problems(where: str, proto: onnx.ModelProto) -> Iterator[Problem]:
    """Names that are not made, used before they are made (a cycle shows as that), or made twice; all of them.

    `where` names the file in the problems. Subgraphs and model-local functions are looked into as well.
    """
    yield from _in_graph(where, proto.graph, ())
    for function in proto.functions:
        subject = f"{where}: function {function.name!r}"
        yield from _twice(subject, "input", function.input)
        yield from _in_nodes(where, function.node, set(function.input))
        yield from _undefined(subject, function.output, _made(function.node) | set(function.input))
    yield from _twice(
        where, "function", (f"{f.domain}.{f.name}{f.overload and ':'}{f.overload}" for f in proto.functions)
    )


def _in_graph(where: str, graph: onnx.GraphProto, outer: _Scopes) -> Iterator[Problem]:
    subject = f"{where}: graph {graph.name!r}"
    inputs = [value.name for value in graph.input]
    initializers = [tensor.name for tensor in graph.initializer]
    initializers += [tensor.values.name for tensor in graph.sparse_initializer]
    outputs = [value.name for value in graph.output]
    # Old files list initializers among the inputs too, so a name may be one of each.
    yield from _twice(subject, "input", inputs)
    yield from _twice(subject, "initializer", initializers)
    yield from _twice(subject, "output", outputs)
    given = {*inputs, *initializers}
    yield from _in_nodes(where, graph.node, given, outer)
    made = given | _made(graph.node)
    yield from _undefined(subject, (name for name in outputs if not _known(name, outer)), made)


def _in_nodes(
    where: str, nodes: Sequence[onnx.NodeProto], given: Collection[str], outer: _Scopes = ()
) -> Iterator[Problem]:
    own = set(given)
    later = _made(nodes)
    for node in nodes:
        subject = f"{where}: node {node_label(node)!r}"
        for name in node.input:
            if name and name not in own and not _known(name, outer):
                early = name in later
                reason = "is used before it is computed: a cycle, or nodes out of order" if early else "is not defined"
                yield Problem(STAGE, subject, f"input {name!r} {reason}")
        for attribute in node.attribute:
            if attribute.type in _GRAPHS and (
                attribute.ref_attr_name or not (attribute.HasField("g") or attribute.graphs)
            ):
                yield Problem(STAGE, subject, f"attribute {attribute.name!r} should hold a graph, and does not")
        for graph in subgraphs(node):
            yield from _in_graph(where, graph, (*outer, own))
        for name in node.output:
            if name in own:
                yield Problem(STAGE, subject, f"output {name!r} is already the name of another value")
            own.update([name] if name else [])


def graphs_and_nodes(proto: onnx.ModelProto) -> tuple[list[onnx.GraphProto], list[onnx.NodeProto]]:
    """Every graph and every node of a model, those of subgraphs and functions included."""
    nodes = [node for function in proto.functions for node in function.node]
    graphs = [proto.graph, *(graph for node in nodes for graph in subgraphs(node))]
    for graph in graphs:  # which grows on the way
        nodes.extend(graph.node)
        graphs.extend(inner for node in graph.node for inner in subgraphs(node))
    return graphs, nodes


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes: branches and loop bodies."""
    for attribute in node.attribute:
        yield from [attribute.g] if attribute.HasField("g") else []
        yield from attribute.graphs


def _known(name: str, scopes: _Scopes) -> bool:
    return any(name in scope for scope in scopes)


def _made(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.output if name}


def _twice(subject: str, kind: str, names: Iterable[str]) -> Iterator[Problem]:
    seen = set[str]()
    for name in names:
        if name in seen:
            yield Problem(STAGE, subject, f"{kind} {name!r} is there twice")
        seen.add(name)


def _undefined(subject: str, outputs: Iterable[str], made: Collection[str]) -> Iterator[Problem]:
    for name in outputs:
        if name not in made:
            yield Problem(STAGE, subject, f"output {name!r} is not defined")


def node_label(node: onnx.NodeProto) -> str:
    """How messages name a node: its own name, else its operator and first output."""
    return node.name or f"{node.op_type}:{next(filter(None, node.output), '?')}"
