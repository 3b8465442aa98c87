"""Which nodes of a function may compute in 16 bits, told from the graph alone.

A 16-bit type is right for products, whose sums the hardware keeps in float32, and for what is done to one element at a
time. It is wrong where many elements are added one after the other, where a small difference of large values counts,
and where a function magnifies the error of its argument: normalisations, softmax, sums, exponentials. A normalisation
may be written out, so what computes a mean or a variance, and what applies it, is told by its dependences.
An operator that is not in these tables stays as it is.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import Node

from passes import dialect
from passes.graph_builder import values_of
from passes.program import Function

_aten = torch.ops.aten

PRODUCTS: frozenset[Any] = frozenset(
    {
        _aten.matmul.default,
        _aten.mm.default,
        _aten.bmm.default,
        _aten.addmm.default,
        _aten.baddbmm.default,
        _aten.linear.default,
        _aten.einsum.default,
        _aten.conv1d.default,
        _aten.conv2d.default,
        _aten.conv3d.default,
        _aten.conv_transpose1d.default,
        _aten.conv_transpose2d.input,
        _aten.conv_transpose3d.input,
        dialect.ATTENTION,
        dialect.CACHED_ATTENTION,
    }
)
"""Sums of products: they keep their sums in float32, and attention its scores and their softmax too."""

LOOKUPS: frozenset[Any] = frozenset({_aten.index.Tensor, _aten.index_select.default, _aten.embedding.default})
"""Rows of a table."""

MOVES: frozenset[Any] = (
    frozenset(
        {
            operator.getitem,
            _aten.view.default,
            _aten.reshape.default,
            _aten.flatten.using_ints,
            _aten.unsqueeze.default,
            _aten.squeeze.dim,
            _aten.squeeze.dims,
            _aten.permute.default,
            _aten.transpose.int,
            _aten.t.default,
            _aten.numpy_T.default,
            _aten.expand.default,
            _aten.repeat.default,
            _aten.clone.default,
            _aten.alias.default,
            _aten.contiguous.default,
            _aten.slice.Tensor,
            _aten.select.int,
            _aten.narrow.default,
            _aten.split.Tensor,
            _aten.split_with_sizes.default,
            _aten.unbind.int,
            _aten.cat.default,
            _aten.stack.default,
            _aten.flip.default,
            _aten.gather.default,
            _aten.where.self,
            _aten.constant_pad_nd.default,
            _aten.relu.default,
            _aten.neg.default,
            _aten.abs.default,
            _aten.minimum.default,
            _aten.maximum.default,
            _aten.max_pool1d.default,
            _aten.max_pool2d.default,
            _aten.max_pool3d.default,
        }
    )
    | LOOKUPS
)
"""What gives elements that it was given: nothing is rounded."""

ELEMENTWISE: frozenset[Any] = frozenset(
    {
        _aten.add.Tensor,
        _aten.sub.Tensor,
        _aten.mul.Tensor,
        _aten.div.Tensor,
        _aten.add.Scalar,
        _aten.sub.Scalar,
        _aten.rsub.Scalar,
        _aten.mul.Scalar,
        _aten.div.Scalar,
        _aten.clamp.default,
        _aten.clamp_min.default,
        _aten.clamp_max.default,
        _aten.sigmoid.default,
        _aten.tanh.default,
        _aten.erf.default,
        _aten.gelu.default,
        _aten.silu.default,
        _aten.mish.default,
        _aten.elu.default,
        _aten.leaky_relu.default,
        _aten.prelu.default,
        _aten.hardtanh.default,
        _aten.hardsigmoid.default,
        _aten.hardswish.default,
    }
)
"""One element of the result from one of each operand, with an error of about one rounding."""

_STATISTICS: frozenset[Any] = frozenset(
    {
        _aten.mean.default,
        _aten.mean.dim,
        _aten.sum.default,
        _aten.sum.dim_IntList,
        _aten.var.default,
        _aten.var.dim,
        _aten.var.correction,
        _aten.std.dim,
        _aten.std.correction,
        _aten.linalg_vector_norm.default,
        _aten.logsumexp.default,
        _aten.cumsum.default,
        _aten.prod.dim_int,
    }
)
"""One number for many."""

_SENSITIVE: frozenset[Any] = frozenset(
    {
        _aten.pow.Tensor_Tensor,
        _aten.pow.Tensor_Scalar,
        _aten.exp.default,
        _aten.softmax.int,
        _aten.log_softmax.int,
        _aten.layer_norm.default,
        _aten.rms_norm.default,
        _aten.group_norm.default,
        _aten.instance_norm.default,
        *_STATISTICS,
    }
)
"""What stays in float32 together with the arithmetic that leads to it: sums of residuals, scores with their masks.

Products are cast before that arithmetic instead of after it, so it takes no more casts.
"""


def may_be_low(function: Function) -> Iterator[Node]:
    """The nodes of float32 that may compute in 16 bits, in order."""
    statistics = _statistics(function)
    for node in function.computations:
        target: Any = node.target
        results = values_of(node)
        if target not in PRODUCTS and target not in MOVES and target not in ELEMENTWISE:
            continue
        operands = (v for n in node.all_input_nodes for v in values_of(n) if v.is_floating_point())
        if not results or any(value.dtype != torch.float32 for value in (*results, *operands)) or node in statistics:
            continue
        if target in ELEMENTWISE and any(operand in statistics for operand in node.all_input_nodes):
            continue
        if target in ELEMENTWISE and any(user.target in _SENSITIVE for user in node.users):
            continue
        if any(value.dtype == torch.bool for value in _indices(node)):
            continue  # how many elements a mask picks is known when it runs
        yield node


def _indices(node: Node) -> Iterator[torch.Tensor]:
    if node.target is _aten.index.Tensor:
        for index in node.all_input_nodes[1:]:
            yield from values_of(index)


def _statistics(function: Function) -> frozenset[Node]:
    """Nodes that are means, sums and the like, and what is computed from them and from weights alone."""
    found = set[Node]()
    for node in function.computations:
        target: Any = node.target
        if target in _STATISTICS:
            found.add(node)
            continue
        is_pointwise = isinstance(target, torch._ops.OpOverload) and torch.Tag.pointwise in target.tags
        if is_pointwise or target in MOVES:
            operands = [n for n in node.all_input_nodes if values_of(n) and n.name not in function.weights]
            if any(operand in found for operand in operands) and all(o in found or _is_made(o) for o in operands):
                found.add(node)
    return frozenset(found)


def _is_made(node: Node) -> bool:
    """True for a constant that the graph makes."""
    return node.op == "call_function" and not node.all_input_nodes
