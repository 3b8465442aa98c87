"""Write convolutions that have a kernel for each channel as sums over the places of their kernels."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch.fx import Node
from torch.fx.node import Argument

from artifacts.weights import WeightStore
from passes.axis_maps import argument_of
from passes.bodies import copied_graph, rewritten
from passes.contract import FunctionPass
from passes.graph_editor import GraphEditor, Size
from passes.program import Function

_aten = torch.ops.aten

_CONVOLUTIONS = frozenset({_aten.conv1d.default, _aten.conv2d.default, _aten.conv3d.default})

_END = sys.maxsize
"""The end of a slice that ends where its tensor does."""


@dataclass(frozen=True)
class UnrollDepthwise(FunctionPass):
    """conv(x, w) with as many groups as channels  ->  the sum over places k of x[..., k:] * w[k].

    For accelerators whose product is of matrices. AWS documents that the one of Inferentia2 and Trainium contracts over
    up to 128 partitions ("Trainium/Inferentia2 Architecture Guide for NKI"), which one channel has nothing to fill
    with; that its first compiler took these convolutions, and was not fast at them where channels are few ("Neuron
    Compiler (neuron-cc) for Inf1 Release Notes"); and that its own kernel reads the input anew from each place on,
    because to collect windows copies the input as often as a kernel has places ("Depthwise Conv1D Kernel API
    Reference"). A sum over places is such reads in plain operators, each on a whole tensor.

    A kernel of more than `places` stays a convolution: each place is a slice, a product and an addition, and the number
    of instructions has a limit. Sums are of float32.
    """

    name: ClassVar[str] = "unroll-depthwise"
    places: int = 64

    def rewrite_function(
        self, function: Function, weights: WeightStore
    ) -> tuple[Function, WeightStore, tuple[str, ...]]:
        graph, _ = copied_graph(function.body)
        editor = GraphEditor(graph, function.symbols, dict(function.sources))
        unrolled, large = 0, []
        for node in list(graph.nodes):
            found = _Depthwise.of(node)
            if found is None:
                continue
            if math.prod(found.kernel) > self.places:
                large.append(f"{node.name} stays a convolution: its kernel has {math.prod(found.kernel)} places")
                continue
            total = _Writer(editor, node).sum_of(found)
            node.replace_all_uses_with(total)
            unrolled += 1
        if not unrolled:
            return function, weights, tuple(large)
        notes = (f"convolutions of single channels written as sums: {unrolled}", *large)
        return rewritten(function, graph, function.weights, editor.sources), weights, notes


@dataclass(frozen=True, eq=False)
class _Depthwise:
    """A convolution with a kernel for each channel: `weight` [channels * multiplier, 1, kernel...]."""

    data: Node
    weight: Node
    bias: Node | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    kernel: tuple[int, ...]
    channels: int
    multiplier: int

    @classmethod
    def of(cls, node: Node) -> Self | None:
        if node.target not in _CONVOLUTIONS:
            return None
        data, weight, bias = (argument_of(node, place) for place in range(3))
        shape, rank = weight.meta["val"].shape, weight.meta["val"].dim() - 2
        groups = argument_of(node, 6, 1)
        if groups == 1 or shape[1] != 1 or data.meta["val"].dim() != rank + 2 or not all(type(n) is int for n in shape):
            return None

        def each(position: int, default: int) -> tuple[int, ...]:
            values = argument_of(node, position, (default,))
            return tuple(values) * rank if len(values) == 1 else tuple(values)

        stride, padding, dilation = each(3, 1), each(4, 0), each(5, 1)
        return cls(data, weight, bias, stride, padding, dilation, tuple(shape[2:]), groups, shape[0] // groups)


class _Writer:
    """Puts nodes before a convolution, each with the shape that it has and with the convolution's source."""

    def __init__(self, editor: GraphEditor, node: Node) -> None:
        self._editor = editor
        self._node = node

    def sum_of(self, conv: _Depthwise) -> Node:
        """The sum that a convolution is, with its bias, of its type."""
        value, rank = self._node.meta["val"], len(conv.kernel)
        data, weight = self._wide(conv.data), self._wide(conv.weight)
        if any(conv.padding):
            pads = [pad for axis_pad in reversed(conv.padding) for pad in (axis_pad, axis_pad)]
            lead, spatial = data.meta["val"].shape[:2], data.meta["val"].shape[2:]
            sizes = [size + 2 * pad for size, pad in zip(spatial, conv.padding, strict=True)]
            data = self._put(_aten.constant_pad_nd.default, (data, pads, 0.0), (*lead, *sizes))
        if conv.multiplier > 1:
            rows, channels, *sizes = data.meta["val"].shape
            data = self._put(_aten.unsqueeze.default, (data, 2), (rows, channels, 1, *sizes))
        apart = (conv.channels, conv.multiplier)[: 2 if conv.multiplier > 1 else 1]
        weight = self._put(_aten.view.default, (weight, [*apart, *conv.kernel]), (*apart, *conv.kernel))
        shape = (value.shape[0], *apart, *value.shape[2:])
        total: Node | None = None
        for part, factor in self._places(conv, data, weight, 0):
            product = self._put(_aten.mul.Tensor, (part, factor), shape)
            total = product if total is None else self._put(_aten.add.Tensor, (total, product), shape)
        assert total is not None
        if conv.multiplier > 1:
            total = self._put(_aten.flatten.using_ints, (total, 1, 2), value.shape)
        if conv.bias is not None:
            column = (value.shape[1], *(1,) * rank)
            bias = self._put(_aten.view.default, (self._wide(conv.bias), list(column)), column)
            total = self._put(_aten.add.Tensor, (total, bias), value.shape)
        if value.dtype != total.meta["val"].dtype:
            total = self._put(_aten.to.dtype, (total, value.dtype), value.shape, value.dtype)
        total.meta["val"] = value
        return total

    def _places(self, conv: _Depthwise, data: Node, weight: Node, axis: int) -> Iterator[tuple[Node, Node]]:
        """What meets each place of the kernel, and the weights of that place, from this axis of the kernel on."""
        if axis == len(conv.kernel):
            yield data, weight
            return
        rank, size, step = len(conv.kernel), conv.kernel[axis], conv.stride[axis]
        size_after = self._node.meta["val"].shape[2 + axis]
        for place in range(size):
            part, factor = data, weight
            begin, left = place * conv.dilation[axis], (size - 1 - place) * conv.dilation[axis]
            if begin or left or step != 1:
                part = self._cut(data, axis - rank, (begin, -left if left else _END, step), size_after)
            if size > 1:
                factor = self._cut(weight, axis - rank, (place, place + 1, 1), 1)
            yield from self._places(conv, part, factor, axis + 1)

    def _cut(self, node: Node, axis: int, where: tuple[int, int, int], size: Size) -> Node:
        shape = list(node.meta["val"].shape)
        shape[axis] = size
        return self._put(_aten.slice.Tensor, (node, axis, *where), shape)

    def _wide(self, node: Node) -> Node:
        """The node in float32 if it has fewer bits."""
        value = node.meta["val"]
        if value.dtype.itemsize >= torch.float32.itemsize:
            return node
        return self._put(_aten.to.dtype, (node, torch.float32), value.shape, torch.float32)

    def _put(
        self, target: Any, args: Sequence[Argument], shape: Sequence[Size], dtype: torch.dtype | None = None
    ) -> Node:
        """A new node of the type of its first operand."""
        first = args[0]
        assert isinstance(first, Node)
        return self._editor.put(self._node, target, args, shape, dtype or first.meta["val"].dtype)
