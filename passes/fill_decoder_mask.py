"""Masks of a decoder's tokens become constants: while it generates, every token so far is a token and none is padding.

It is a rewrite of what a conversion gives and no pass: with its mask the decoder cannot be stepped, nor held to its
source.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch.fx import Node

from artifacts.spec import Signature
from passes.graph_builder import GraphBuilder, expression_of
from passes.program import Function


def fill_decoder_mask(function: Function, masks: Collection[str]) -> Function:
    """The function without the inputs `masks`, each of which is all ones of its shape and dtype.

    Their shapes must be told by the other inputs; raises NoSizeError if they are not.
    """
    if not masks:
        return function
    builder = GraphBuilder(function)
    new: dict[Node, Node] = {}
    for node in function.weight_nodes:
        new[node] = builder.placeholder(node.name, node.meta["val"], weight=True)
    inputs = dict(zip(function.input_nodes, function.signature.inputs, strict=True))
    kept = {node: spec for node, spec in inputs.items() if spec.name not in masks}
    for node in kept:
        new[node] = builder.placeholder(node.name, node.meta["val"])
    for node in inputs.keys() - kept.keys():
        value = node.meta["val"]
        shape = [builder.size(expression_of(size)) for size in value.shape]
        new[node] = builder.call(torch.ops.aten.full.default, shape, 1, dtype=value.dtype)
    for node in function.computations:
        new[node] = builder.copy(node, new)
    results = [new[node] for node in function.results if isinstance(node, Node)]
    signature = Signature(inputs=tuple(kept.values()), outputs=function.signature.outputs)
    return builder.function(function, function.name, signature, results)
