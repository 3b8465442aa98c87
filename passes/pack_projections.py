"""Make one product of the products that a step computes of one row: of its queries, keys and values, for one."""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.fx import Graph, Node

from artifacts.weights import WeightRef, WeightStore
from passes.bodies import copied_graph, inserted_weight, rewritten
from passes.contract import Pass, Rewrite
from passes.program import Function, Program

_aten = torch.ops.aten

_COLUMNS: Mapping[Any, int] = {_aten.matmul.default: 1, _aten.linear.default: 0}
"""Products with a matrix of weights, and the axis of the matrix that counts the columns of the result."""


@dataclass(frozen=True)
class PackProjections(Pass):
    """x q, x k, x v  ->  x [q k v], split: for an x whose rows are a number, as those of a step are.

    The packed matrix takes the place of its parts, so that there is one copy; parts that something else uses stay.
    Products of many rows stay as they are: they gain nothing, and the split would move what they gave.
    """

    name: ClassVar[str] = "pack-projections"

    def rewrite(self, program: Program) -> Rewrite:
        packers = {name: _Packer(function) for name, function in program.functions.items()}
        found = _together(packers, program.weight_users())
        store, functions, notes = program.weights, dict(program.functions), []
        for name, groups in found.items():
            packer = packers[name]
            for group in groups:
                store = packer.pack(group, store)
            if groups:
                functions[name] = rewritten(functions[name], packer.graph, packer.refs, packer.sources)
                notes.append(f"{name}: products packed: {', '.join(str(len(group)) for group in groups)}")
        return Rewrite(program.with_functions(functions, store), tuple(notes))


def _together(packers: Mapping[str, _Packer], users: Counter[str]) -> dict[str, list[Sequence[_Projection]]]:
    """The groups of each function's projections that can be packed, because nothing uses their matrices apart.

    A matrix may be used by several functions, a step and a window for one, if all of them use it in such a group.
    """
    counts = Counter(content for p in packers.values() for group in p.groups for content in p.contents(group))
    own = {content for content, count in counts.items() if users[content] == count}
    groups = {
        name: [[p for p in group if packer.refs[p.matrix.name].digest in own] for group in packer.groups]
        for name, packer in packers.items()
    }
    alike = Counter(packers[name].contents(group) for name, found in groups.items() for group in found)

    def is_whole(contents: tuple[str, ...]) -> bool:
        return len(contents) > 1 and all(users[content] == alike[contents] for content in contents)

    return {
        name: [group for group in found if is_whole(packers[name].contents(group))] for name, found in groups.items()
    }


@dataclass(frozen=True, eq=False)
class _Projection:
    """A product of `x` and a matrix of weights; `result` is the product with its bias, if it has one."""

    product: Node
    result: Node
    matrix: Node
    bias: Node | None


class _Packer:
    """A function whose products are being packed, and the groups of them that could be."""

    def __init__(self, function: Function) -> None:
        self.graph: Graph
        self.graph, _ = copied_graph(function.body)
        self.refs: dict[str, WeightRef] = dict(function.weights)
        self.sources = dict(function.sources)
        groups: dict[tuple[Node, Any], list[_Projection]] = defaultdict(list)
        for node in self.graph.nodes:
            found = self._projection(node)
            if found is not None:
                groups[node.args[0], node.target].append(found)
        self.groups = [group for group in groups.values() if len(group) > 1]

    def contents(self, group: Sequence[_Projection]) -> tuple[str, ...]:
        """The digests of the matrices of a group."""
        return tuple(self.refs[projection.matrix.name].digest for projection in group)

    def _projection(self, node: Node) -> _Projection | None:
        if node.target not in _COLUMNS or node.kwargs or not node.users:
            return None
        x, matrix, *biases = node.args
        if not isinstance(x, Node) or not isinstance(matrix, Node) or not self._is_own(matrix):
            return None
        shape = x.meta["val"].shape
        if x.name in self.refs or len(shape) < 2 or not isinstance(shape[-2], int):
            return None
        bias = biases[0] if biases else None
        if bias is None:
            return _Projection(node, *self._biased(node, matrix))
        known = isinstance(bias, Node) and bias.name in self.refs
        return _Projection(node, node, matrix, bias) if known else None  # type: ignore[arg-type]  # a node then

    def _is_own(self, matrix: Node) -> bool:
        """True for a matrix of weights that the function uses once."""
        ref = self.refs.get(matrix.name)
        return ref is not None and len(ref.shape) == 2 and len(matrix.users) == 1

    def _biased(self, product: Node, matrix: Node) -> tuple[Node, Node, Node | None]:
        """The sum of a product and one number for each of its columns, if that is all that it is used in."""
        if len(product.users) == 1:
            (user,) = product.users
            others = [n for n in user.args if n is not product]
            if user.target is _aten.add.Tensor and not user.kwargs and len(others) == 1:
                (bias,) = others
                columns = tuple(product.meta["val"].shape[-1:])
                if isinstance(bias, Node) and bias.name in self.refs and self.refs[bias.name].shape == columns:
                    return user, matrix, bias
        return product, matrix, None

    def pack(self, group: Sequence[_Projection], store: WeightStore) -> WeightStore:
        """Put one product in the place of a group; the store with the packed matrix."""
        first = group[0].product
        target: Any = first.target
        axis = _COLUMNS[target]
        matrix, store = self._joined(first, "packed", [self._array(p.matrix, store) for p in group], axis, store)
        sizes = [self.refs[p.matrix.name].shape[axis] for p in group]
        operands = [first.args[0], matrix]
        with self.graph.inserting_before(first):
            if all(p.bias is None for p in group):
                whole = self._call(target, *operands)
            else:
                biases = [
                    np.zeros(size, np.float32) if p.bias is None else self._array(p.bias, store)
                    for p, size in zip(group, sizes, strict=True)
                ]
                bias, store = self._joined(first, "biases", biases, 0, store)
                whole = self._call(_aten.add.Tensor, self._call(target, *operands), bias)
            parts = self._call(_aten.split_with_sizes.default, whole, sizes, -1)
            results = [self._call(operator.getitem, parts, place) for place in range(len(group))]
        for projection, result in zip(group, results, strict=True):
            projection.result.replace_all_uses_with(result)
        return store

    def _array(self, weight: Node, store: WeightStore) -> np.ndarray[Any, Any]:
        return store.array(self.refs[weight.name])

    def _joined(
        self, node: Node, stem: str, arrays: Sequence[np.ndarray[Any, Any]], axis: int, store: WeightStore
    ) -> tuple[Node, WeightStore]:
        """A new weight, named after the first node that it is for, and the store with it."""
        store, ref = store.with_tensor(np.concatenate(arrays, axis))
        made = inserted_weight(self.graph, self.refs, f"{node.name}_{stem}", node.meta["val"].new_empty(ref.shape))
        self.refs[made.name] = ref
        if node.name in self.sources:
            self.sources[made.name] = f"{self.sources[node.name]}.{stem}"
        return made, store

    def _call(self, target: Any, *args: Any) -> Node:
        node = self.graph.call_function(target, args)
        given = torch.fx.map_arg(args, lambda n: n.meta["val"])
        first = next(n for n in node.all_input_nodes)
        value = first.meta["val"]
        with (value[0] if isinstance(value, list | tuple) else value).fake_mode:
            node.meta["val"] = target(*given)
        return node
