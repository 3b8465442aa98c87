"""Give nodes of a body another floating-point type, with as few casts as that takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from torch.fx import Graph, Node
from torch.fx.node import Argument

from artifacts.dtype import DType
from artifacts.names import free_name
from artifacts.weights import WeightStore
from passes.bodies import copied_graph, edited
from passes.program import Function
from passes.torch_dtypes import from_numpy, logical_dtype, to_numpy

_CAST = torch.ops.aten.to.dtype


class Narrowing:
    """A copy of a function's graph in which nodes go from float32 to `dtype`, visited in their order."""

    def __init__(self, function: Function, store: WeightStore, dtype: torch.dtype) -> None:
        self.graph: Graph
        self.graph, self._new = copied_graph(function.body)
        self.function = function
        self.store = store
        self.dtype = dtype
        self.weights = dict(function.weights)
        self.sources = dict(function.sources)
        self._lowered = set[Node]()
        self._twins: dict[Node, Node] = {}
        self._names = {node.name for node in self.graph.nodes}

    def weight(self, old: Node, low: Collection[Node]) -> None:
        """Store a weight in the types that its users take: most often in one."""
        if self.weights[old.name].dtype != DType.FLOAT32 or not any(user in low for user in old.users):
            return
        node = self._new[old]
        if all(user in low for user in old.users):
            self._store(node, node)
            return
        with self.graph.inserting_after(node):
            twin = self.graph.placeholder(free_name(f"{node.name}_low", self._names))
        twin.meta = dict(node.meta) | {"weight": True}
        if node.name in self.sources:
            self.sources[twin.name] = self.sources[node.name]
        self._store(node, twin)
        self._twins[node] = twin

    def _store(self, weight: Node, node: Node) -> None:
        ref = self.weights[weight.name]
        narrow = to_numpy(from_numpy(self.store.array(ref), ref.dtype).to(self.dtype))
        self.store, self.weights[node.name] = self.store.with_tensor(narrow, logical_dtype(self.dtype))
        self._retype(node)

    def retype(self, old: Node) -> None:
        """An input of the low type."""
        self._retype(self._new[old])

    def computation(self, old: Node, is_low: bool) -> None:
        """A node that computes in the low type, or takes its operands as it took them before."""
        node = self._new[old]
        if not isinstance(node.meta.get("val"), (torch.Tensor, list, tuple)):
            return  # a size is the same in every type
        node.args, node.kwargs = torch.fx.map_arg(
            (node.args, node.kwargs), lambda operand: self._in_type(operand, node, is_low)
        )
        if is_low:
            self._retype(node)

    def outputs(self, are_low: Sequence[bool]) -> None:
        """Results in the types that the signature has."""
        output = next(iter(reversed(self.graph.nodes)))
        results: list[Argument] = [
            self._in_type(result, output, is_low) if isinstance(result, Node) else result
            for result, is_low in zip(output.args[0], are_low, strict=True)
        ]
        output.args = (tuple(results),)

    def _in_type(self, operand: Node, user: Node, is_low: bool) -> Node:
        value = operand.meta.get("val")
        if not isinstance(value, torch.Tensor):
            return operand
        if (value.dtype != torch.float32) if is_low else (operand not in self._lowered):
            return operand
        if operand not in self._twins:
            with self.graph.inserting_before(user):
                wanted = self.dtype if is_low else torch.float32
                self._twins[operand] = self.graph.call_function(_CAST, (operand, wanted))
            self._twins[operand].meta = {"val": _as(value, wanted)}
        return self._twins[operand]

    def _retype(self, node: Node) -> None:
        value = node.meta["val"]
        is_one = isinstance(value, torch.Tensor)
        node.meta["val"] = _as(value, self.dtype) if is_one else type(value)(_as(v, self.dtype) for v in value)
        self._lowered.add(node)


def _as(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A fake value of another type."""
    with value.fake_mode:  # type: ignore[attr-defined]  # every value of a body is fake
        return value.to(dtype)


def without_idle_casts(function: Function) -> Function:
    """The function without casts to the type that a value has: they would be true casts once it has another."""
    if not any(map(_is_idle, function.computations)):
        return function
    graph, _ = copied_graph(function.body)
    for node in list(graph.nodes):
        if _is_idle(node):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)
    names = {node.name for node in graph.nodes}
    sources = {name: source for name, source in function.sources.items() if name in names}
    return replace(function, body=edited(function.body, graph), sources=sources)


def _is_idle(node: Node) -> bool:
    if node.op != "call_function" or node.target is not _CAST or len(node.args) > 2 or node.kwargs:
        return False
    (operand,) = node.all_input_nodes
    return bool(operand.meta["val"].dtype == node.meta["val"].dtype)
