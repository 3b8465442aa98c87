"""How large the values of a program's nodes are on its samples, and whether a type of fewer bits can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch.fx import Node

from artifacts.dtype import DType
from passes.decode import Watch
from passes.interpreter import Observer
from passes.observation import watch_samples
from passes.program import Function, Program
from passes.torch_dtypes import from_numpy

SPREAD = 2.0**8
"""How far below the largest value of a tensor its other values are taken to count."""


@dataclass(frozen=True)
class Ranges:
    """The largest finite |value| of each tensor that was seen, by function and node; 0 if all of them were 0."""

    largest: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def misfit(self, function: str, node: Node, dtype: torch.dtype) -> str:
        """Why a type cannot hold what a node gave; "" if it can, or if the node was not seen.

        Half of the type's range is left as room for values that the samples do not have.
        """
        found = self.largest.get((function, node.name))
        if not found:
            return ""
        limits = torch.finfo(dtype)
        if found > limits.max / 2:
            return f"has values of {found:.3g}"
        if found < limits.smallest_normal * SPREAD:
            return f"has no value above {found:.3g}"
        return ""


def observed_ranges(program: Program) -> Ranges:
    """The ranges of all weights, and of what the functions of the models compute on their samples."""
    found: dict[tuple[str, str], float] = {}

    def watch(function: str) -> Observer:
        def observe(node: Node, value: object) -> None:
            if node.name not in program.functions[function].weights:
                key = function, node.name
                found[key] = max(found.get(key, 0.0), _largest(value))

        return observe

    for function in program.functions.values():
        found |= _weights(program, function)
    checked: Watch = watch
    watch_samples(program, checked)
    return Ranges(found)


def _weights(program: Program, function: Function) -> dict[tuple[str, str], float]:
    return {
        (function.name, name): _largest(from_numpy(program.weights.array(ref), ref.dtype))
        for name, ref in function.weights.items()
        if ref.dtype == DType.FLOAT32
    }


def _largest(value: object) -> float:
    if isinstance(value, torch.Tensor):
        if not value.is_floating_point() or not value.numel():
            return 0.0
        # Infinities are in every type: a mask has them.
        return float(torch.nan_to_num(value.detach().abs(), nan=0.0, posinf=0.0).max())
    return max(map(_largest, value), default=0.0) if isinstance(value, (list, tuple)) else 0.0
