"""Two ONNX graphs as one: `(encoder inputs, decoder tokens) -> scores`, weights left where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass, RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from artifacts.errors import Problem, SourceError
from compiler.parts.joins import CACHE_BRANCH, PAST, STAGE, Joins


def without_cache(decoder: ir.Model) -> None:
    """Leave of a decoder what scores all its tokens at once: no cache in, none out."""
    graph = decoder.graph
    for value in graph.inputs:
        if value.name == CACHE_BRANCH:
            for node in [node for node, _ in value.uses() if node.op_type == "If"]:
                _take_branch(graph, node, "else_branch")
    kept = [value for value in graph.outputs if not PAST.match(value.name or "")]
    graph.outputs[:] = kept
    RemoveUnusedNodesPass()(decoder)
    for value in [value for value in graph.inputs if _is_cache(value) and not value.uses()]:
        graph.inputs.remove(value)


def compose(encoder: ir.Model, decoder: ir.Model, joins: Joins) -> ir.Model:
    """One model of two, which are taken apart. Raises SourceError if their operators are of unlike versions."""
    SourceError.raise_if(_unlike_opsets(encoder, decoder))
    _separate_functions(encoder, decoder)
    for role, model in (("encoder", encoder), ("decoder", decoder)):
        _rename(model.graph, role)
    given, results = ({_plain(v): v for v in values} for values in (encoder.graph.inputs, encoder.graph.outputs))
    inputs, mine = list(encoder.graph.inputs), {_plain(value): value for value in decoder.graph.inputs}
    outputs = [value for value in decoder.graph.outputs if _plain(value) == joins.logits]
    for name, value in mine.items():
        if name in joins.own:
            inputs.append(value)
        elif name in joins.fed:
            ir.convenience.replace_all_uses_with(value, results[joins.fed[name]])
        elif name in joins.shared:
            ir.convenience.replace_all_uses_with(value, given[joins.shared[name]])
    for value in (*(mine[name] for name in joins.own if name in mine), *outputs):
        _resymbolise(value, joins.symbols)
    names = {mine[name]: new for name, new in joins.own.items() if name in mine}
    nodes, initializers = [], []
    for graph in (encoder.graph, decoder.graph):
        initializers += _taken_initializers(graph)
        moved = list(graph)
        graph.outputs.clear()
        graph.inputs.clear()
        graph.remove(moved)
        nodes += moved
    composed = ir.Model(
        ir.Graph(
            inputs,
            outputs,
            nodes=nodes,
            initializers=initializers,
            opset_imports={**decoder.opset_imports, **encoder.opset_imports},
            name="composed",
        ),
        ir_version=max(encoder.ir_version, decoder.ir_version),
        functions=[*encoder.functions.values(), *decoder.functions.values()],
    )
    for value in (*inputs, *outputs):
        value.name = names.get(value, _plain(value))
    for clean in (RemoveUnusedNodesPass(), RemoveUnusedFunctionsPass(), RemoveUnusedOpsetsPass()):  # type: ignore[no-untyped-call]  # onnx_ir's own
        clean(composed)
    return composed


def refer_from(model: ir.Model, base: Path) -> None:
    """Give the places of a model's large weights from `base`, a folder above all files they are in, links followed."""
    for graph in _graphs(model.graph):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = _moved(value.const_value, base)
    for node in _nodes(model):
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                node.attributes[name] = ir.AttrTensor(name, _moved(attribute.value, base))


def _moved(tensor: ir.ExternalTensor, base: Path) -> ir.ExternalTensor:
    location = (Path(tensor.base_dir) / tensor.location).resolve().relative_to(base)
    return ir.ExternalTensor(
        location, tensor.offset, tensor.length, tensor.dtype, shape=tensor.shape, name=tensor.name, base_dir=base
    )


def _is_cache(value: ir.Value) -> bool:
    return value.name == CACHE_BRANCH or PAST.match(value.name or "") is not None


def _take_branch(graph: ir.Graph, node: ir.Node, branch: str) -> None:
    """Put one branch of an If into its graph in the If's place. Values may then share a name until `_rename`."""
    taken = node.attributes[branch].as_graph()
    results, moved, weights = list(taken.outputs), list(taken), _taken_initializers(taken)
    taken.outputs.clear()
    taken.remove(moved)
    for value in weights:
        while value.name in graph.initializers:
            value.name = f"{value.name}/{branch}"
        graph.register_initializer(value)
    # What a branch gives may be a value from around it, which keeps its own name.
    named = [
        ir.node("Identity", [result], name=f"{node.name}/{old.name}")
        for old, result in zip(node.outputs, results, strict=True)
    ]
    graph.insert_before(node, [*moved, *named])
    for old, new in zip(node.outputs, named, strict=True):
        new.outputs[0].name, new.outputs[0].type, new.outputs[0].shape = old.name, old.type, old.shape
        ir.convenience.replace_all_uses_with(old, new.outputs[0], replace_graph_outputs=True)
    graph.remove(node, safe=True)
    for attribute in node.attributes.values():  # what the branches not taken still use would never be unused
        if attribute.type == ir.AttributeType.GRAPH:
            for left in ir.traversal.RecursiveGraphIterator(attribute.as_graph()):
                for position in range(len(left.inputs)):
                    left.replace_input_with(position, None)


def _unlike_opsets(encoder: ir.Model, decoder: ir.Model) -> Iterator[Problem]:
    for domain, version in sorted(encoder.opset_imports.items()):
        other = decoder.opset_imports.get(domain, version)
        if other != version:
            name = domain or "ai.onnx"
            message = f"the encoder uses version {version} of {name}, the decoder version {other}"
            yield Problem(STAGE, f"operators of {name}", message, "export both parts with one opset")


def _separate_functions(encoder: ir.Model, decoder: ir.Model) -> None:
    """Give the decoder's functions names of their own where the encoder has one of that name."""
    taken = set(encoder.functions)
    renamed = {key: f"decoder_{key[1]}" for key in decoder.functions if key in taken}
    for node in _nodes(decoder):
        node.op_type = renamed.get(node.op_identifier(), node.op_type)
    for key, name in renamed.items():
        function = decoder.functions.pop(key)
        function.name = name
        decoder.functions[function.identifier()] = function


def _rename(graph: ir.Graph, role: str) -> None:
    """Put the role before every name, subgraphs included, and give none to two values.

    The sizes noted inside the graph go: their symbols are those of one part.
    """
    ports = {id(value) for value in (*graph.inputs, *graph.outputs)}
    values = {id(value): value for inner in _graphs(graph) for value in _values(inner)}
    taken = {value.name for value in values.values() if id(value) in ports}
    for key, value in values.items():
        if value.const_value is None and key not in ports:
            value.shape = None
        name = value.name
        if name and key not in ports:
            while name in taken:
                name += "_"
            taken.add(name)
        value.name = f"{role}/{name}" if name else name
    for node in ir.traversal.RecursiveGraphIterator(graph):
        node.name = f"{role}/{node.name}" if node.name else None


def _plain(value: ir.Value) -> str:
    return (value.name or "").split("/", 1)[1]


def _resymbolise(value: ir.Value, symbols: Mapping[str, str]) -> None:
    if value.shape is not None:
        value.shape = ir.Shape(
            [
                dim if isinstance(dim, int) else ir.SymbolicDim(symbols.get(dim.value or "", dim.value))
                for dim in value.shape
            ]
        )


def _taken_initializers(graph: ir.Graph) -> list[ir.Value]:
    values = list(graph.initializers.values())
    graph.initializers.clear()
    return values


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _graphs(graph: ir.Graph) -> list[ir.Graph]:
    """A graph and all graphs inside it."""
    found = [graph]
    for outer in found:  # which grows on the way
        for node in outer:
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH:
                    found.append(attribute.as_graph())
                elif attribute.type == ir.AttributeType.GRAPHS:
                    found.extend(attribute.as_graphs())
    return found


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node of a model, those of subgraphs and functions included."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        yield from ir.traversal.RecursiveGraphIterator(graph)
