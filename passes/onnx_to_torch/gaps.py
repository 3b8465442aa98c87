"""Everything in a model that the importer cannot convert, found before anything is converted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import onnx_ir as ir

from artifacts.errors import Problem
from passes.onnx_to_torch import registry
from passes.onnx_to_torch.function_bodies import has_function
from passes.onnx_to_torch.importer import label_of


def find_gaps(model: ir.Model) -> tuple[Problem, ...]:
    """One problem for each operator version without a converter, naming the nodes that need it."""
    missing: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    roots: list[tuple[ir.Graph | ir.Function, Mapping[str, int]]] = [(model.graph, model.opset_imports)]
    roots += [(function, function.opset_imports) for function in model.functions.values()]
    for root, opsets in roots:
        for node, since in _unconverted(model, root, opsets):
            missing[(node.domain, node.op_type, since)].append(label_of(node))
    return tuple(_problem(*key, nodes) for key, nodes in sorted(missing.items()))


def _unconverted(
    model: ir.Model, root: ir.Graph | ir.Function, opsets: Mapping[str, int]
) -> Iterator[tuple[ir.Node, int]]:
    for node in ir.traversal.RecursiveGraphIterator(root):
        domain = registry.normal_domain(node.domain)
        if node.op_identifier() in model.functions or (domain == "" and node.op_type == "Constant"):
            continue
        opset = registry.opset_of(opsets, domain)
        schema = registry.schema_of(domain, node.op_type, opset)
        since = schema.since_version if schema else opset
        if registry.find(domain, node.op_type, since) is None and not has_function(schema):
            yield node, since


def _problem(domain: str, name: str, since: int, nodes: list[str]) -> Problem:
    count = f"{len(nodes)} nodes" if len(nodes) > 1 else "1 node"
    shown = ", ".join(nodes[:3]) + (", ..." if len(nodes) > 3 else "")
    hint = "" if domain in ("", "ai.onnx") else f"operators of domain {domain!r} are not ONNX's own"
    full_name = f"{domain}.{name}" if domain not in ("", "ai.onnx") else name
    return Problem("convert", f"{full_name}-{since}", f"no converter; needed by {count}: {shown}", hint)
