"""Whether a cached row stays what it is when tokens are appended: what makes a cache right, and no shape can show.

The whole decoder is run on random tokens and on more of them; every row that both have in common must be the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch.fx import Node

from artifacts.checks import Tolerances
from artifacts.samples import Arrays
from artifacts.tolerances import compare
from artifacts.weights import WeightStore
from passes.dependence import Dependence
from passes.interpreter import run_function
from passes.program import Function
from passes.torch_dtypes import from_numpy, logical_dtype, to_numpy

LENGTHS = ((1, 2), (3, 8), (7, 12))
"""Numbers of tokens, and numbers of the same tokens with more appended."""

_SEED = 20


def first_variant(
    function: Function,
    weights: WeightStore,
    inputs: Arrays,
    tokens: str,
    vocabulary: int,
    kept: Iterable[Node],
    longest: int,
    tolerances: Tolerances,
) -> Node | None:
    """The first node whose rows change when tokens are appended, if it is one of `kept` or before one; else None.

    `inputs` are the function's own but for the tokens. Tokens are drawn below `vocabulary`; no more than `longest`
    are given. Values with one axis of time are compared, on a batch of the inputs' size.
    """
    dependence = Dependence(function, tokens)
    watched = [n for n in function.computations if _has_rows(n, dependence)]
    last = max((watched.index(node) for node in kept if node in watched), default=-1)
    watched = watched[: last + 1]
    batch = _batch(function, inputs, tokens)
    drawn = np.random.default_rng(_SEED).integers(0, vocabulary, (batch, max(most for _, most in LENGTHS)))
    for fewer, more in LENGTHS:
        if more > longest:
            break
        short = _rows(function, weights, {**inputs, tokens: drawn[:, :fewer]}, watched)
        long = _rows(function, weights, {**inputs, tokens: drawn[:, :more]}, watched)
        for node in watched:
            (axis,) = dependence.time_axes(node.meta["val"])
            before, after = to_numpy(short[node]), to_numpy(long[node].narrow(axis, 0, fewer))
            dtype = logical_dtype(node.meta["val"].dtype)
            if not compare(before, after, tolerances.for_dtype(dtype), dtype).passed:
                return node
    return None


def _has_rows(node: Node, dependence: Dependence) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or node not in dependence.on_tokens:
        return False
    axes = dependence.time_axes(value)
    return len(axes) == 1 and str(value.shape[axes[0]]) in dependence.time


def _rows(function: Function, weights: WeightStore, inputs: Arrays, watched: list[Node]) -> dict[Node, torch.Tensor]:
    found: dict[Node, torch.Tensor] = {}
    wanted = set(watched)

    def keep(node: Node, value: object) -> None:
        if node in wanted and isinstance(value, torch.Tensor):
            found[node] = value

    arrays = [inputs[spec.name].astype(spec.dtype.numpy, copy=False) for spec in function.signature.inputs]
    tensors = [from_numpy(a, s.dtype) for a, s in zip(arrays, function.signature.inputs, strict=True)]
    run_function(function, weights, tensors, keep)
    return found


def _batch(function: Function, inputs: Arrays, tokens: str) -> int:
    size = function.signature.input(tokens).shape[0]
    if isinstance(size, int):
        return size
    for spec in function.signature.inputs:
        if spec.name in inputs and size in spec.shape:
            return int(inputs[spec.name].shape[spec.shape.index(size)])
    return 2
