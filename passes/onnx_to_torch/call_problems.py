"""Whether the functions of an ONNX file end: told before anything follows a call.

A file of a kilobyte can call itself, or call in a chain whose every link calls the next one twice. Whatever inlines
functions, ONNX Runtime as well as the importer, then runs out of stack, memory or time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx

from artifacts.errors import Problem
from passes.onnx_to_torch.graph_problems import STAGE, subgraphs
from passes.onnx_to_torch.registry import normal_domain

DEEPEST = 64
"""Levels of calls and subgraphs within each other: exporters nest a dozen, and Python's stack holds a hundred."""

MOST_NODES = 2_000_000
"""Nodes after every call is replaced by the function's body: the largest language models have a tenth of that."""

_Key = tuple[str, str, str]


@dataclass(frozen=True)
class _Extent:
    """What a list of nodes comes to with its calls followed: levels below it, and nodes in all."""

    depth: int
    nodes: int


def call_problems(where: str, proto: onnx.ModelProto) -> Iterator[Problem]:
    """Functions that end up in themselves; else calls that nest too deep, or come to too many nodes.

    `where` names the file in the problems.
    """
    bodies = {(normal_domain(f.domain), f.name, f.overload): f.node for f in proto.functions}
    extents, endless = _extents(bodies)
    for key in endless:
        yield Problem(STAGE, f"{where}: function {key[1]!r}", "calls itself, directly or through another function")
    if endless:
        return
    whole = _extent(proto.graph.node, extents)
    if whole.depth > DEEPEST:
        message = f"functions and subgraphs are nested {whole.depth} deep, more than {DEEPEST}"
        yield Problem(STAGE, where, message, "inline the functions, or export the model without them")
    if whole.nodes > MOST_NODES:
        message = f"the calls of functions come to {whole.nodes} nodes, more than {MOST_NODES}"
        yield Problem(STAGE, where, message, "is the file damaged, or made to exhaust who reads it?")


def _extents(bodies: Mapping[_Key, Sequence[onnx.NodeProto]]) -> tuple[dict[_Key, _Extent], list[_Key]]:
    """The extents of the functions that end; those that do not, without the ones that merely call them."""
    calls = {key: {called for called in _called(nodes) if called in bodies} for key, nodes in bodies.items()}
    callers: dict[_Key, list[_Key]] = {key: [] for key in bodies}
    for key, called in calls.items():
        for other in called:
            callers[other].append(key)
    extents: dict[_Key, _Extent] = {}
    waiting = {key: len(called) for key, called in calls.items()}
    ready = [key for key, count in waiting.items() if not count]
    while ready:
        key = ready.pop()
        extents[key] = _extent(bodies[key], extents)
        for caller in callers[key]:
            waiting[caller] -= 1
            ready += [] if waiting[caller] else [caller]
    # Of what is left, whatever nobody left calls is on no cycle.
    left = {key: sum(caller not in extents for caller in callers[key]) for key in bodies if key not in extents}
    ready = [key for key, count in left.items() if not count]
    while ready:
        key = ready.pop()
        del left[key]
        for other in calls[key] & left.keys():
            left[other] -= 1
            ready += [] if left[other] else [other]
    return extents, list(left)


def _extent(nodes: Sequence[onnx.NodeProto], extents: Mapping[_Key, _Extent]) -> _Extent:
    """The extent of a body whose callees' extents are known. Protocol Buffers bounds how deep subgraphs nest."""
    depth, count = 0, len(nodes)
    for node in nodes:
        below = [_extent(graph.node, extents) for graph in subgraphs(node)]
        called = extents.get(_key(node))
        for extent in [*below, called] if called else below:
            depth = max(depth, extent.depth + 1)
            count += extent.nodes
    return _Extent(depth, count)


def _called(nodes: Sequence[onnx.NodeProto]) -> Iterator[_Key]:
    for node in nodes:
        yield _key(node)
        for graph in subgraphs(node):
            yield from _called(graph.node)


def _key(node: onnx.NodeProto) -> _Key:
    return (normal_domain(node.domain), node.op_type, node.overload)
