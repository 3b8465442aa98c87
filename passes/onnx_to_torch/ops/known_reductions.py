"""ReduceSum, ReduceProd, ReduceMax and ReduceMin on known values."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TypeAlias

import numpy as np
import torch

from passes.onnx_to_torch import known_math
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int
from passes.onnx_to_torch.registry import known
from passes.onnx_to_torch.values import Known

Combine: TypeAlias = Callable[[Int, Int], Int]


def _register(
    name: str, combine: Combine, neutral: int | None, attribute: tuple[int, ...], inputs: tuple[int, ...]
) -> None:
    def with_attribute(call: Call, data: Known) -> Known | None:
        axes = call.attr_ints("axes") if call.has("axes") else list(range(data.array.ndim))
        return _reduce(call, combine, neutral, data, axes)

    def with_input(call: Call, data: Known, axes: Known | None = None) -> Known | None:
        if axes is None or not axes.array.size:
            none = call.attr_int("noop_with_empty_axes")
            return _reduce(call, combine, neutral, data, [] if none else list(range(data.array.ndim)))
        if not axes.is_concrete:
            return None
        return _reduce(call, combine, neutral, data, [int(axis) for axis in axes.numpy().reshape(-1)])

    known(name, *attribute)(with_attribute)
    known(name, *inputs)(with_input)


def _reduce(call: Call, combine: Combine, neutral: int | None, data: Known, axes: list[int]) -> Known | None:
    """None, for the tensor path, on booleans and on an empty set that has no neutral element."""
    array = data.array
    reduced = {axis % array.ndim for axis in axes}
    kept = [axis for axis in range(array.ndim) if axis not in reduced]
    count = int(np.prod([array.shape[axis] for axis in reduced], dtype=np.int64))
    if data.dtype is torch.bool or (count == 0 and neutral is None):
        return None
    rows = array.transpose([*kept, *sorted(reduced)]).reshape(*(array.shape[axis] for axis in kept), count)
    result = np.empty(rows.shape[:-1], dtype=object)
    for index in np.ndindex(result.shape):
        start = () if neutral is None else (neutral,)
        result[index] = known_math.wrap(reduce(combine, [*start, *rows[index]]), data.dtype)
    if call.attr_int("keepdims"):
        result = result.reshape([1 if axis in reduced else size for axis, size in enumerate(array.shape)])
    return Known(result, data.dtype)


_register("ReduceSum", lambda a, b: a + b, 0, (1, 11), (13,))
_register("ReduceProd", lambda a, b: a * b, 1, (1, 11, 13), (18,))
_register("ReduceMax", known_math.maximum, None, (1, 11, 12, 13), (18, 20))
_register("ReduceMin", known_math.minimum, None, (1, 11, 12, 13), (18, 20))
