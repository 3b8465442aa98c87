"""Where the nodes of an engine's ONNX come from: the names that the source model gave them, kept as metadata."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

SOURCE_PROPERTY = "unspool.source"
"""The metadata key under which an engine's node names the node of the source model that it came from."""


def origin_of(node: onnx.NodeProto) -> str:
    """The source model's name of the node that this one came from; "" if it came from none."""
    return next((entry.value for entry in node.metadata_props if entry.key == SOURCE_PROPERTY), "")


def node_origins(source: bytes) -> dict[str, str]:
    """The source model's names by name of the engine's node, those of functions, loops and branches too."""
    import onnx

    model = onnx.ModelProto.FromString(source)
    nodes = itertools.chain(model.graph.node, *(function.node for function in model.functions))
    return {node.name: origin for node in _all_nodes(nodes) if (origin := origin_of(node))}


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all_nodes(graph.node)
