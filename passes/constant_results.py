"""What a function computes from weights alone, and fold-constants has left because the result would be larger.

A runtime that folds constants makes it when it opens an engine, in memory of its own.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from artifacts.dtype import DType
from passes.program import Function
from passes.weight_products import weight_product

LEAST_BYTES = 1024
"""Results of fewer bytes are not worth telling."""


def constant_results(function: Function) -> dict[Node, int]:
    """Results that depend on weights alone and that something else uses, with their bytes.

    A transposed matrix of float32 that only products read is none: it is read in place.
    """
    known = set(function.weight_nodes)
    for node in function.computations:
        if _is_fixed(node) and all(source in known for source in node.all_input_nodes):
            known.add(node)
    found: dict[Node, int] = {}
    for node in function.computations:
        if node not in known or all(user in known for user in node.users):
            continue
        products = [weight_product(user, function) for user in node.users if user not in known]
        if all(product is not None and product.matrix.dtype == DType.FLOAT32 for product in products):
            continue
        value = node.meta["val"]
        if value.numel() * value.element_size() > LEAST_BYTES:
            found[node] = value.numel() * value.element_size()
    return found


def _is_fixed(node: Node) -> bool:
    """True for an operator that gives one tensor of fixed sizes, the same on every call."""
    value = node.meta.get("val")
    tags = node.target.tags if isinstance(node.target, torch._ops.OpOverload) else ()
    fixed = isinstance(value, torch.Tensor) and all(isinstance(size, int) for size in value.shape)
    return fixed and torch.Tag.nondeterministic_seeded not in tags
