"""Fold what scales and shifts the channels of an image into the convolutions before and behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch.fx import Graph, Node

from artifacts.dtype import DType
from artifacts.weights import WeightRef, WeightStore
from passes.axis_maps import argument_of
from passes.bodies import copied_graph, inserted_weight, rewritten
from passes.contract import Pass, Rewrite
from passes.program import Function, Program

_aten = torch.ops.aten

_PADDING, _GROUPS = 4, 6
"""Places among the arguments of a convolution."""

_EXACT = (False, 0.0, 0.0, False)
"""A batch normalisation that does not train, and adds nothing to the variance."""

_ORDERS: Mapping[Any, int] = {_aten.mul.Tensor: 2, _aten.add.Tensor: 2, _aten.div.Tensor: 1, _aten.sub.Tensor: 1}
"""Operators with a constant, and in how many orders of their operands the second may be it."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoldScales(Pass):
    """conv(scale * conv(x) + shift)  ->  conv(x) with other weights, the scale and the shift of each channel gone.

    Products, quotients and sums with constants and batch normalisations, as many as follow one another, are one scale
    and one shift. They go into the convolution that they follow, else into the one that they precede; that one takes
    no shift if it pads, because it pads with zeros behind the shift. What stays is one batch normalisation, if it
    takes the place of several operators or stands before a convolution. Weights that something else uses stay.
    """

    name: ClassVar[str] = "fold-scales"

    def rewrite(self, program: Program) -> Rewrite:
        users = program.weight_users()
        store, functions, notes = program.weights, dict(program.functions), []
        for name, function in program.functions.items():
            folder = _Folder(function, users, store)
            folded = folder.fold()
            if folded:
                store = folder.store
                functions[name] = rewritten(function, folder.graph, folder.refs, folder.sources)
                notes.append(f"{name}: scales and shifts folded: {folded}")
        return Rewrite(program.with_functions(functions, store), tuple(notes))


@dataclass(frozen=True, eq=False)
class _Chain:
    """`last` = scale * base + shift for each channel, float64 [channels], in so many operators."""

    base: Node
    last: Node
    scale: Doubles
    shift: Doubles
    steps: int

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())


class _Folder:
    """A function whose scales are being folded. `users` counts, over all functions, those of each content."""

    def __init__(self, function: Function, users: Counter[str], store: WeightStore) -> None:
        self.graph: Graph
        self.graph, _ = copied_graph(function.body)
        self.users = users
        self.store = store
        self.refs: dict[str, WeightRef] = dict(function.weights)
        self.sources = dict(function.sources)
        self._ends: dict[Node, Node] = {}

    def fold(self) -> int:
        """Fold every chain there is; how many that were."""
        return sum(self._placed(chain) for chain in list(self._chains()))

    def _chains(self) -> Iterator[_Chain]:
        """Chains that nothing but their end leaves, each as long as it can be."""
        open_chains: dict[Node, _Chain] = {}
        for node in self.graph.nodes:
            found = self._step(node)
            if found is None:
                continue
            base, scale, shift = found
            before = open_chains.pop(base, None) if len(base.users) == 1 else None
            if before is None:
                open_chains[node] = _Chain(base, node, scale, shift, 1)
            else:
                both = scale * before.scale, scale * before.shift + shift
                open_chains[node] = _Chain(before.base, node, *both, before.steps + 1)
        return (chain for chain in open_chains.values() if chain.is_finite)

    def _step(self, node: Node) -> tuple[Node, Doubles, Doubles] | None:
        """What a node scales and shifts, and by how much for each channel."""
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or value.dim() != 4 or not isinstance(value.shape[1], int):
            return None
        if value.dtype != torch.float32 or not node.users:
            return None
        if node.target is _aten.batch_norm.default:
            return self._normalised(node)
        if node.target is _aten.to.dtype:
            base, ones = node.args[0], np.ones(value.shape[1])
            return (base, ones, np.zeros_like(ones)) if isinstance(base, Node) and _alike(base, node) else None
        for base, other in (node.args[:2], node.args[1::-1])[: _ORDERS.get(node.target, 0)]:
            constant = self._per_channel(other, value.shape[1])
            if constant is not None and isinstance(base, Node) and _alike(base, node) and not node.kwargs:
                return (base, *_affine(node.target, constant))
        return None

    def _normalised(self, node: Node) -> tuple[Node, Doubles, Doubles] | None:
        base, *given = node.args[:5]
        weight, bias, mean, variance = (self._array(argument) for argument in given)
        if argument_of(node, 5) or mean is None or variance is None or not isinstance(base, Node):
            return None
        if (given[0] is not None and weight is None) or (given[1] is not None and bias is None):
            return None
        scale = (1.0 if weight is None else weight) / np.sqrt(variance + argument_of(node, 7))
        return base, scale, (0.0 if bias is None else bias) - mean * scale

    def _per_channel(self, argument: object, channels: int) -> Doubles | None:
        """A constant as float64 [channels], if it is one number or one for each channel of [n, channels, h, w]."""
        array = np.asarray(argument, np.float64) if isinstance(argument, int | float) else self._array(argument)
        if array is None or array.ndim > 4:
            return None
        whole = array.reshape((1,) * (4 - array.ndim) + array.shape)
        if whole.shape[1] not in (1, channels) or whole.size != whole.shape[1]:
            return None
        return np.array(np.broadcast_to(whole.reshape(-1), (channels,)))

    def _array(self, argument: object) -> Doubles | None:
        """A weight in float32 as float64."""
        ref = self.refs.get(argument.name) if isinstance(argument, Node) else None
        return self.store.array(ref).astype(np.float64) if ref is not None and ref.dtype == DType.FLOAT32 else None

    def _placed(self, chain: _Chain) -> bool:
        chain = replace(chain, base=self._ends.get(chain.base, chain.base))
        if not chain.shift.any() and (chain.scale == 1).all():
            self._end(chain, chain.base)
            return True
        return self._into_producer(chain) or self._into_consumer(chain) or self._into_one(chain)

    def _into_producer(self, chain: _Chain) -> bool:
        convolution = chain.base
        weights = self._weights_of(convolution) if len(convolution.users) == 1 else None
        if weights is None:
            return False
        kernel, bias = weights
        scale = chain.scale.reshape(-1, *(1,) * (kernel.ndim - 1))
        self._convolve(convolution, kernel * scale, bias * chain.scale + chain.shift)
        self._end(chain, convolution)
        return True

    def _into_consumer(self, chain: _Chain) -> bool:
        convolution = next(iter(chain.last.users))
        weights = self._weights_of(convolution) if len(chain.last.users) == 1 else None
        if weights is None or convolution.args[0] is not chain.last:
            return False
        kernel, bias = weights
        if chain.shift.any() and _pads(convolution):
            return False
        groups = argument_of(convolution, _GROUPS, 1)
        # The channels that each output of a kernel [outputs, inputs / groups, ...] reads.
        inputs = np.arange(len(chain.scale)).reshape(groups, -1).repeat(len(kernel) // groups, 0)
        tail = (1,) * (kernel.ndim - 2)
        shifted = (kernel * chain.shift[inputs].reshape(*inputs.shape, *tail)).reshape(len(kernel), -1).sum(1)
        self._convolve(convolution, kernel * chain.scale[inputs].reshape(*inputs.shape, *tail), bias + shifted)
        convolution.replace_input_with(chain.last, chain.base)
        return True

    def _into_one(self, chain: _Chain) -> bool:
        """As one batch normalisation: a runtime keeps it in the layout of the convolutions around it."""
        before = any(user.target is _aten.conv2d.default for user in chain.last.users)
        is_one = chain.steps == 1 and (not before or chain.last.target is _aten.batch_norm.default)
        if is_one:
            return False
        one = [(chain.scale, "scale"), (chain.shift, "shift")]
        rest = [(np.zeros_like(chain.shift), "mean"), (np.ones_like(chain.scale), "variance")]
        operands = [self._weight(chain.last, name, array) for array, name in (*one, *rest)]
        with self.graph.inserting_before(chain.last):
            made = self.graph.call_function(_aten.batch_norm.default, (chain.base, *operands, *_EXACT))
        made.meta["val"] = chain.last.meta["val"]
        if chain.last.name in self.sources:
            self.sources[made.name] = self.sources[chain.last.name]
        self._end(chain, made)
        return True

    def _end(self, chain: _Chain, result: Node) -> None:
        """Let a node give what the chain gave."""
        chain.last.replace_all_uses_with(result)
        self._ends[chain.last] = result

    def _weights_of(self, convolution: Node) -> tuple[Doubles, Doubles] | None:
        """Kernel [outputs, inputs, ...] and bias [outputs] that this convolution alone uses."""
        if convolution.target is not _aten.conv2d.default or convolution.kwargs:
            return None
        nodes = [convolution.args[1], argument_of(convolution, 2)]
        arrays = [self._array(node) for node in nodes]
        kernel, bias = arrays
        if kernel is None or (bias is None and nodes[1] is not None):
            return None
        if self.users[self.refs[nodes[0].name].digest] > 1 or len(nodes[0].users) > 1:
            return None
        return kernel, np.zeros(len(kernel)) if bias is None else bias

    def _convolve(self, convolution: Node, kernel: Doubles, bias: Doubles) -> None:
        """Give a convolution other weights."""
        data, before, known, *others = (*convolution.args, None)[: max(3, len(convolution.args))]
        assert isinstance(before, Node)
        self.users[self.refs[before.name].digest] -= 1
        biased = known is not None or bool(bias.any())
        weights = (
            self._weight(convolution, "kernel", kernel),
            self._weight(convolution, "bias", bias) if biased else None,
        )
        convolution.args = (data, *weights, *others)

    def _weight(self, node: Node, stem: str, array: Doubles) -> Node:
        """A new weight in float32, named after the node that it is for."""
        self.store, ref = self.store.with_tensor(array.astype(np.float32))
        made = inserted_weight(self.graph, self.refs, f"{node.name}_{stem}", node.meta["val"].new_empty(array.shape))
        self.refs[made.name] = ref
        self.users[ref.digest] += 1
        if node.name in self.sources:
            self.sources[made.name] = f"{self.sources[node.name]}.{stem}"
        return made


def _affine(operator: Any, constant: Doubles) -> tuple[Doubles, Doubles]:
    """The scale and the shift that an operator with a constant is."""
    if operator in (_aten.add.Tensor, _aten.sub.Tensor):
        return np.ones_like(constant), constant if operator is _aten.add.Tensor else -constant
    with np.errstate(divide="ignore"):
        return constant if operator is _aten.mul.Tensor else 1 / constant, np.zeros_like(constant)


def _alike(one: object, other: Node) -> bool:
    """True for values of one shape and type."""
    if not isinstance(one, Node) or not isinstance(one.meta.get("val"), torch.Tensor):
        return False
    values = [node.meta["val"] for node in (one, other)]
    return len({(value.dtype, tuple(map(str, value.shape))) for value in values}) == 1


def _pads(convolution: Node) -> bool:
    padding = argument_of(convolution, _PADDING, 0)
    return bool(np.any(padding)) if not isinstance(padding, str) else padding != "valid"
