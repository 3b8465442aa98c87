"""Numbers that values are multiplied with, as passes meet them in a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node

from artifacts.weights import WeightStore
from passes.program import Function
from passes.torch_dtypes import from_numpy

_aten = torch.ops.aten

_SCALES: Mapping[Any, tuple[int, ...]] = {_aten.mul.Tensor: (1, -1), _aten.div.Tensor: (1,)}
"""Operators that scale, and in which orders of their operands the second may be the number."""


def scalars_of(function: Function, weights: WeightStore) -> dict[str, float]:
    """The weights that are one number, by name."""
    small = {name: ref for name, ref in function.weights.items() if ref.size == 1}
    return {name: from_numpy(weights.array(ref), ref.dtype).item() for name, ref in small.items()}


def unscaled(node: Node, scalars: Mapping[str, float]) -> tuple[Node, float]:
    """What is multiplied with numbers, and their product."""
    scale = 1.0
    while (found := _scaled(node, scalars)) is not None:
        node, factor = found
        scale *= factor
    return node, scale


def _scaled(node: Node, scalars: Mapping[str, float]) -> tuple[Node, float] | None:
    """What a node multiplies with a number, and the number."""
    for scaled, by in (node.args[::order] for order in _SCALES.get(node.target, ())):
        number = number_of(by, scalars)
        if isinstance(scaled, Node) and number:
            return scaled, number if node.target is _aten.mul.Tensor else 1 / number
    return None


def number_of(argument: object, scalars: Mapping[str, float]) -> float | None:
    """The number that an operand is: one of Python's, or a weight; None if it is neither."""
    number = scalars.get(argument.name) if isinstance(argument, Node) else argument
    return number if isinstance(number, int | float) else None
