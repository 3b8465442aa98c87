"""Compute at compile time what depends on weights alone, as long as it makes the bundle no larger."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from artifacts.weights import WeightRef, WeightStore
from passes.bodies import copied_graph, edited, inserted_weight
from passes.contract import Pass, Rewrite
from passes.program import Function, Program
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
        _aten.clone.default,
        _aten.to.dtype,
    }
)
"""Operators that give the same elements in the same order, unless of another type: folded as a reference, without
bytes."""

REORDERINGS = frozenset(
    {_aten.t.default, _aten.transpose.int, _aten.permute.default, _aten.expand.default, _aten.numpy_T.default}
)
"""Operators that give the same elements in another order, or repeated: never folded.

A transposed copy of a tied weight would be a second copy of it; targets read a weight transposed in place.
"""


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Replace a computation on weights and constants by its result.

    A result is folded if it has at most `limit` bytes, or no more bytes than the weights that it alone uses:
    that bound keeps a filled tensor (ConstantOfShape) an operator, and keeps ties, because a content with another
    user, in this function or in another one, stays. A view of a weight becomes a reference on the same content.
    """

    name: ClassVar[str] = "fold-constants"
    limit: int = 1024

    def rewrite(self, program: Program) -> Rewrite:
        users = program.weight_users()
        store = program.weights
        folders = {name: _Folder(f, users, store, self.limit) for name, f in program.functions.items()}
        # Folding takes users from weights, and a weight that has lost one may let more be folded: until none is.
        before, folded = -1, 0
        while folded > before:
            for folder in folders.values():
                store = folder.sweep(store)
            before, folded = folded, sum(folder.folded for folder in folders.values())
        notes = tuple(f"{name}: nodes folded: {folder.folded}" for name, folder in folders.items() if folder.folded)
        return Rewrite(program.with_functions({n: f.result() for n, f in folders.items()}, store), notes)


class _Folder:
    """A function that is being folded. `users` counts, over all functions, the placeholders of each content."""

    def __init__(self, function: Function, users: Counter[str], store: WeightStore, limit: int) -> None:
        self.function = function
        self.graph, _ = copied_graph(function.body)
        self.users = users
        self.store = store
        self.limit = limit
        self.refs: dict[str, WeightRef] = dict(function.weights)
        self.sources = dict(function.sources)
        self.folded = 0

    def sweep(self, store: WeightStore) -> WeightStore:
        """Fold once from the first node to the last; the store with what that added."""
        self.store = store
        for node in list(self.graph.nodes):
            self._visit(node)
        return self.store

    def result(self) -> Function:
        """The folded function, without the weights that nothing uses any more; the one given if none was folded."""
        if not self.folded:
            return self.function
        for node in list(self.graph.nodes):
            if node.op == "placeholder" and node.name in self.refs and not node.users:
                self.graph.erase_node(node)
        remaining = {node.name for node in self.graph.nodes}
        return replace(
            self.function,
            body=edited(self.function.body, self.graph),
            weights={name: ref for name, ref in self.refs.items() if name in remaining},
            sources={name: source for name, source in self.sources.items() if name in remaining},
        )

    def _visit(self, node: torch.fx.Node) -> None:
        if node.op != "call_function" or not isinstance(node.meta.get("val"), torch.Tensor):
            return
        if node.target in REORDERINGS or not isinstance(node.target, torch._ops.OpOverload):
            return
        if torch.Tag.nondeterministic_seeded in node.target.tags:
            return
        sources = node.all_input_nodes
        if any(source.name not in self.refs for source in sources) or not _is_static(node.meta["val"]):
            return
        dtype = logical_dtype(node.meta["val"].dtype)
        if node.target in VIEWS and dtype == self.refs[sources[0].name].dtype:
            self._replace(node, self.refs[sources[0].name].reshaped(tuple(node.meta["val"].shape)))
            return
        own = sum(self.refs[s.name].nbytes for s in sources if self._only_user_is(node, s))
        size = node.meta["val"].numel() * node.meta["val"].element_size()
        if size > max(own, self.limit):
            return
        self.store, ref = self.store.with_tensor(to_numpy(self._evaluate(node)), dtype)
        self._replace(node, ref)

    def _only_user_is(self, node: torch.fx.Node, weight: torch.fx.Node) -> bool:
        return set(weight.users) == {node} and self.users[self.refs[weight.name].digest] == 1

    def _evaluate(self, node: torch.fx.Node) -> torch.Tensor:
        def load(source: torch.fx.Node) -> torch.Tensor:
            ref = self.refs[source.name]
            return from_numpy(self.store.array(ref), ref.dtype)

        arguments = torch.fx.map_arg(node.args, load)
        keywords = torch.fx.map_arg(node.kwargs, load)
        with torch.no_grad():
            result: torch.Tensor = node.target(*arguments, **keywords)  # type: ignore[operator]
        return result

    def _replace(self, node: torch.fx.Node, ref: WeightRef) -> None:
        folded = inserted_weight(self.graph, self.refs, f"{node.name}_folded", node.meta["val"])
        self.refs[folded.name] = ref
        if node.name in self.sources:
            self.sources[folded.name] = self.sources[node.name]
        node.replace_all_uses_with(folded)
        used = node.all_input_nodes
        self.graph.erase_node(node)
        self.users[ref.digest] += bool(folded.users)
        self.users.subtract(self.refs[weight.name].digest for weight in used if not weight.users)
        self.folded += 1


def _is_static(value: torch.Tensor) -> bool:
    return all(isinstance(size, int) for size in value.shape)
