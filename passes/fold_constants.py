"""Compute at compile time what depends on weights alone, as long as it makes the bundle no larger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from artifacts.weights import WeightRef, WeightStore
from passes.bodies import copied_graph, edited
from passes.contract import FunctionPass
from passes.program import Function
from passes.torch_dtypes import from_numpy, logical_dtype, to_numpy

_aten = torch.ops.aten

VIEWS = frozenset(
    {
        _aten.view.default,
        _aten.reshape.default,
        _aten.unsqueeze.default,
        _aten.squeeze.dim,
        _aten.squeeze.dims,
        _aten.flatten.using_ints,
        _aten.alias.default,
        _aten.detach.default,
    }
)
"""Operators that give the same elements in the same order: folded as a reference, without bytes."""

REORDERINGS = frozenset(
    {_aten.t.default, _aten.transpose.int, _aten.permute.default, _aten.expand.default, _aten.numpy_T.default}
)
"""Operators that give the same elements in another order, or repeated: never folded.

A transposed copy of a tied weight would be a second copy of it; targets read a weight transposed in place.
"""


@dataclass(frozen=True)
class FoldConstants(FunctionPass):
    """Replace a computation on weights and constants by its result.

    A result is folded if it has at most `limit` bytes, or no more bytes than the weights that it alone uses:
    that bound keeps a filled tensor (ConstantOfShape) an operator, and keeps ties, because a weight with another
    user stays. A view of a weight becomes a reference on the same content.
    """

    name: ClassVar[str] = "fold-constants"
    limit: int = 1024

    def rewrite_function(
        self, function: Function, weights: WeightStore
    ) -> tuple[Function, WeightStore, tuple[str, ...]]:
        graph, _ = copied_graph(function.body)
        folder = _Folder(function, graph, weights, self.limit)
        for node in list(graph.nodes):
            folder.visit(node)
        if not folder.folded:
            return function, weights, ()
        folder.prune()
        remaining = {node.name for node in graph.nodes}
        folded = replace(
            function,
            body=edited(function.body, graph),
            weights={name: ref for name, ref in folder.refs.items() if name in remaining},
            sources={name: source for name, source in folder.sources.items() if name in remaining},
        )
        return folded, folder.store, (f"{folder.folded} nodes folded",)


class _Folder:
    """The state of one walk over a graph that is being edited."""

    def __init__(self, function: Function, graph: torch.fx.Graph, store: WeightStore, limit: int) -> None:
        self.graph = graph
        self.store = store
        self.limit = limit
        self.refs: dict[str, WeightRef] = dict(function.weights)
        self.sources = dict(function.sources)
        self.folded = 0
        self.last_weight = next((n for n in graph.nodes if n.op == "placeholder"), None)
        for node in graph.nodes:
            if node.op == "placeholder" and node.name in self.refs:
                self.last_weight = node

    def visit(self, node: torch.fx.Node) -> None:
        if node.op != "call_function" or not isinstance(node.meta.get("val"), torch.Tensor):
            return
        if node.target in REORDERINGS or not isinstance(node.target, torch._ops.OpOverload):
            return
        if torch.Tag.nondeterministic_seeded in node.target.tags:
            return
        sources = node.all_input_nodes
        if any(source.name not in self.refs for source in sources) or not _is_static(node.meta["val"]):
            return
        if node.target in VIEWS:
            self._replace(node, self.refs[sources[0].name].reshaped(tuple(node.meta["val"].shape)))
            return
        own = sum(self.refs[s.name].nbytes for s in sources if set(s.users) == {node})
        size = node.meta["val"].numel() * node.meta["val"].element_size()
        if size > max(own, self.limit):
            return
        self.store, ref = self.store.with_tensor(to_numpy(self._evaluate(node)), logical_dtype(node.meta["val"].dtype))
        self._replace(node, ref)

    def _evaluate(self, node: torch.fx.Node) -> torch.Tensor:
        def load(source: torch.fx.Node) -> torch.Tensor:
            ref = self.refs[source.name]
            return from_numpy(self.store.array(ref), ref.dtype)

        arguments = torch.fx.map_arg(node.args, load)
        keywords = torch.fx.map_arg(node.kwargs, load)
        with torch.no_grad():
            result: torch.Tensor = node.target(*arguments, **keywords)  # type: ignore[operator,misc]
        return result

    def _replace(self, node: torch.fx.Node, ref: WeightRef) -> None:
        with self.graph.inserting_after(self.last_weight) if self.last_weight else self.graph.inserting_before():
            folded = self.graph.placeholder(f"{node.name}_folded")
        folded.meta = {"val": node.meta["val"], "weight": True}
        self.last_weight = folded
        self.refs[folded.name] = ref
        if node.name in self.sources:
            self.sources[folded.name] = self.sources[node.name]
        node.replace_all_uses_with(folded)
        self.graph.erase_node(node)
        self.folded += 1

    def prune(self) -> None:
        """Drop weights that nothing uses any more."""
        for node in reversed(list(self.graph.nodes)):
            if node.op == "placeholder" and node.name in self.refs and not node.users:
                self.graph.erase_node(node)


def _is_static(value: torch.Tensor) -> bool:
    return all(isinstance(size, int) for size in value.shape)
