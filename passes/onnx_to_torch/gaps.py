"""Everything in a model that the importer cannot convert, found before anything is converted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import onnx_ir as ir

from artifacts.errors import Problem, UnsupportedError
from passes.onnx_to_torch import registry
from passes.onnx_to_torch.constant_nodes import constant_of, constant_tensors, is_constant, label_of
from passes.onnx_to_torch.function_bodies import has_function, model_function
from passes.onnx_to_torch.tensors import dtype_of


def find_gaps(model: ir.Model, converters: registry.Registry | None = None) -> tuple[Problem, ...]:
    """One problem for each operator version without a converter, and for each constant of a kind that we have not.

    Operators come first, each with the nodes that need it. `converters` are Unspool's own unless others are given.
    """
    converters = registry.builtin() if converters is None else converters
    missing: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    roots: list[tuple[ir.Graph | ir.Function, Mapping[str, int]]] = [(model.graph, model.opset_imports)]
    roots += [(function, function.opset_imports) for function in model.functions.values()]
    for root, opsets in roots:
        for node, since in _unconverted(model, root, opsets, converters):
            missing[(node.domain, node.op_type, since)].append(label_of(node))
    return (*(_problem(*key, nodes) for key, nodes in sorted(missing.items())), *_constant_gaps(model))


def _unconverted(
    model: ir.Model, root: ir.Graph | ir.Function, opsets: Mapping[str, int], converters: registry.Registry
) -> Iterator[tuple[ir.Node, int]]:
    for node in ir.traversal.RecursiveGraphIterator(root):
        called = model_function(model, node, opsets)
        if called is not None or (node.op_type == "Constant" and node.domain in ("", "ai.onnx")):
            continue
        domain = registry.normal_domain(node.domain)
        opset = registry.opset_of(opsets, domain)
        schema = registry.schema_of(domain, node.op_type, opset)
        since = registry.since_version(schema, node.op_type, opset)
        if converters.find(domain, node.op_type, since) is None and not has_function(schema):
            yield node, since


def _constant_gaps(model: ir.Model) -> Iterator[Problem]:
    roots: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    nodes = [node for root in roots for node in ir.traversal.RecursiveGraphIterator(root) if is_constant(node)]
    unreadable = [problem for node in nodes for problem in _problems_of(constant_of, node)]
    yield from unreadable
    if not unreadable:
        for tensor in constant_tensors(model):
            yield from _problems_of(dtype_of, tensor.dtype, tensor.name or "a constant")


def _problems_of(function: Callable[..., object], *arguments: object) -> tuple[Problem, ...]:
    try:
        function(*arguments)
    except UnsupportedError as error:
        return error.problems
    return ()


def needed_by(nodes: Sequence[str]) -> str:
    """How many nodes need something, and the first few of them."""
    count = f"{len(nodes)} nodes" if len(nodes) > 1 else "1 node"
    return f"needed by {count}: {', '.join(nodes[:3])}" + (", ..." if len(nodes) > 3 else "")


def _problem(domain: str, name: str, since: int, nodes: list[str]) -> Problem:
    hint = (
        ""
        if domain in ("", "ai.onnx")
        else f"operators of domain {domain!r} are not ONNX's own: --custom-ops takes converters for them"
    )
    return Problem("convert", registry.full_name((domain, name, since)), f"no converter; {needed_by(nodes)}", hint)
