"""ReduceSum, ReduceMean and their like."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.unsigned import by_order, modular
from passes.onnx_to_torch.values import Known

Reduction: TypeAlias = Callable[[Call, torch.Tensor, list[int], bool], torch.Tensor]


def _register(name: str, reduction: Reduction, attribute: tuple[int, ...], inputs: tuple[int, ...]) -> None:
    """Register for the since-versions that have `axes` as an attribute, and those with it as an input."""

    def with_attribute(call: Call, data: torch.Tensor) -> torch.Tensor:
        axes = call.attr_ints("axes") if call.has("axes") else list(range(data.dim()))
        return reduction(call, data, axes, bool(call.attr_int("keepdims")))

    def with_input(call: Call, data: torch.Tensor, axes: Known | None = None) -> torch.Tensor:
        return reduction(call, data, _axes(call, data.dim(), axes), bool(call.attr_int("keepdims")))

    op(name, *attribute)(with_attribute)
    op(name, *inputs, shapes=(1,))(with_input)


def _axes(call: Call, rank: int, axes: Known | None) -> list[int]:
    """The axes to reduce: by default all, or none if noop_with_empty_axes is set."""
    if axes is None or not axes.array.size:
        return [] if call.attr_int("noop_with_empty_axes") else list(range(rank))
    if not axes.is_concrete:
        call.unsupported("axes that are computed by the model")
    return [int(axis) for axis in axes.elements]


def _empty(data: torch.Tensor, axes: list[int]) -> bool:
    return any(isinstance(data.shape[axis], int) and data.shape[axis] == 0 for axis in axes)


def _full(data: torch.Tensor, axes: list[int], keep: bool, value: float) -> torch.Tensor:
    """What is left of an empty tensor once its axes are reduced, filled with one value."""
    reduced = {axis % data.dim() for axis in axes}
    sizes = [1 if axis in reduced else size for axis, size in enumerate(data.shape) if keep or axis not in reduced]
    return torch.full(sizes, value, dtype=data.dtype, device=data.device)


def _sum(call: Call, data: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    # torch takes no axes for all axes.
    if not axes:
        return data
    return modular(lambda x: torch.sum(x, axes, keep, dtype=x.dtype), data)


def _mean(call: Call, data: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    if not axes:
        return data
    if data.is_floating_point():
        return torch.mean(data, axes, keep)
    count = math.prod(data.shape[axis] for axis in axes)
    total = data.to(torch.int64).sum(axes, keep)
    return torch.div(total, count, rounding_mode="trunc").to(data.dtype)


def _max(call: Call, data: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    if not axes:
        return data
    if _empty(data, axes):
        return _full(data, axes, keep, _limits(data.dtype)[0])
    return by_order(lambda x: torch.amax(x, axes, keep), data)


def _min(call: Call, data: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    if not axes:
        return data
    if _empty(data, axes):
        return _full(data, axes, keep, _limits(data.dtype)[1])
    return by_order(lambda x: torch.amin(x, axes, keep), data)


def _limits(dtype: torch.dtype) -> tuple[float, float]:
    if dtype is torch.bool:
        return False, True
    if dtype.is_floating_point:
        return float("-inf"), float("inf")
    return torch.iinfo(dtype).min, torch.iinfo(dtype).max


def _prod(call: Call, data: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    def prod(result: torch.Tensor) -> torch.Tensor:
        # torch multiplies along one axis at a time; from the last on, so that the others keep their place.
        for axis in sorted((axis % data.dim() for axis in axes), reverse=True):
            result = torch.prod(result, axis, keep, dtype=result.dtype)
        return result

    return modular(prod, data)


def _sum_square(call: Call, data: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return _sum(call, modular(torch.square, data), axes, keep)


def _l1(call: Call, data: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return _sum(call, torch.abs(data) if data.is_signed() else data, axes, keep)


def _l2(call: Call, data: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    if not axes:
        return torch.abs(data) if data.is_signed() else data
    if data.is_floating_point():
        result: torch.Tensor = torch.linalg.vector_norm(data, 2, axes, keep)
        return result
    return _in_double(lambda x: torch.linalg.vector_norm(x, 2, axes, keep), data)


def _log_sum(call: Call, data: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return _in_double(lambda x: torch.log(_sum(call, x, axes, keep)), data)


def _log_sum_exp(call: Call, data: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    if not axes:
        return data
    if _empty(data, axes):
        return _full(data, axes, keep, float("-inf"))
    return _in_double(lambda x: torch.logsumexp(x, axes, keep), data)


def _in_double(function: Callable[[torch.Tensor], torch.Tensor], data: torch.Tensor) -> torch.Tensor:
    """Integers have no logarithm or root of their own: through float64, rounded toward zero."""
    return function(data) if data.is_floating_point() else function(data.double()).to(data.dtype)


_register("ReduceSum", _sum, (1, 11), (13,))
_register("ReduceMean", _mean, (1, 11, 13), (18,))
_register("ReduceMax", _max, (1, 11, 12, 13), (18, 20))
_register("ReduceMin", _min, (1, 11, 12, 13), (18, 20))
_register("ReduceProd", _prod, (1, 11, 13), (18,))
_register("ReduceSumSquare", _sum_square, (1, 11, 13), (18,))
_register("ReduceL1", _l1, (1, 11, 13), (18,))
_register("ReduceL2", _l2, (1, 11, 13), (18,))
_register("ReduceLogSum", _log_sum, (1, 11, 13), (18, 28))
_register("ReduceLogSumExp", _log_sum_exp, (1, 11, 13), (18, 28))
