"""Range, ConstantOfShape, EyeLike, OneHot, Trilu: tensors made from a few numbers, and masks of them."""

from __future__ import annotations

import math

import numpy as np
import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, arange, integers, numbers, product
from passes.onnx_to_torch.movement import moved
from passes.onnx_to_torch.operands import whole_numbers
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.tensors import to_torch, torch_dtype
from passes.onnx_to_torch.values import KNOWN_DTYPES, KNOWN_LIMIT, Carried, Known, to_known, to_tensor


@known("Range", 11, 27)
def known_range(_: Call, start: Known, limit: Known, delta: Known) -> Known | None:
    if not (start.is_concrete and limit.is_concrete and delta.is_concrete):
        return None
    elements = range(numbers(start)[0], numbers(limit)[0], numbers(delta)[0])
    return Known.of(elements, start.dtype) if len(elements) <= KNOWN_LIMIT else None


@op("Range", 11, 27, either=(0, 1, 2))
def make_range(
    call: Call, start: torch.Tensor | Known, limit: torch.Tensor | Known, delta: torch.Tensor | Known
) -> torch.Tensor:
    if isinstance(start, Known) and isinstance(limit, Known) and isinstance(delta, Known):
        return arange(integers(start)[0], integers(limit)[0], integers(delta)[0], dtype=start.dtype)
    first, end, step = (to_tensor(bound).reshape(()) for bound in (start, limit, delta))
    dtype = first.dtype
    # Half precision counts and multiplies in float32: version 27 says so, and version 11 has none.
    if dtype in (torch.float16, torch.bfloat16):
        first, end, step = first.float(), end.float(), step.float()
    fixed = [call.static(position) for position in range(3)]
    if all(bound is not None for bound in fixed):
        begin, stop, by = (np.asarray(bound).astype(np.float64).item() for bound in fixed)
        count: Int = max(math.ceil((stop - begin) / by), 0)
    else:
        wanted = ((end.double() - first.double()) / step.double()).ceil().clamp(min=0)
        count = integers(to_known(wanted.to(torch.int64)))[0]
    return (first + arange(count, dtype=first.dtype) * step).to(dtype)


@op("ConstantOfShape", 9, 20, 21, 23, 24, 25, shapes=(0,))
def constant_of_shape(call: Call, shape: Known) -> torch.Tensor | Known | Carried:
    sizes = integers(shape)
    if not call.has("value"):
        return torch.full(sizes, 0.0, dtype=torch.float32)
    filled = to_torch(call.attributes["value"].as_tensor())
    if isinstance(filled, Carried):
        return Carried(filled.tensor.reshape(()).expand([as_int(size) for size in sizes]), filled.dtype)
    dtype = filled.dtype
    value = call.attr_array("value").reshape(-1)
    # Through float64, because the elements of ml_dtypes are not Python's.
    fill = value.astype(np.float64)[0].item() if dtype.is_floating_point else value[0].item()
    if dtype in KNOWN_DTYPES and shape.is_concrete and product(sizes) <= KNOWN_LIMIT:
        array = np.empty(numbers(shape), dtype=object)
        array.fill(fill)
        return Known(array, dtype)
    return torch.full(sizes, fill, dtype=dtype)


@op("EyeLike", 9, 22)
def eye_like(call: Call, data: torch.Tensor) -> torch.Tensor:
    dtype = torch_dtype(call.attr_int("dtype"), call.label) if call.has("dtype") else data.dtype
    return (_diagonals(*data.shape) == call.attr_int("k")).to(dtype)


@op("Trilu", 14, shapes=(1,))
def trilu(call: Call, data: torch.Tensor, k: Known | None = None) -> torch.Tensor:
    diagonal = 0 if k is None else integers(k)[0]
    upper = bool(call.attr_int("upper"))
    if isinstance(diagonal, int):
        return moved(lambda carried: (torch.triu if upper else torch.tril)(carried, diagonal), data)
    offsets = _diagonals(*data.shape[-2:])
    kept = offsets >= as_int(diagonal) if upper else offsets <= as_int(diagonal)
    return torch.where(kept, data, torch.zeros((), dtype=data.dtype))


@op("OneHot", 9, 11, 28, either=(1,))
def one_hot(call: Call, indices: torch.Tensor, depth: torch.Tensor | Known, values: torch.Tensor) -> torch.Tensor:
    """An index outside -depth..depth-1 gives a row of off-values."""
    size = whole_numbers(call, 1, depth)[0]
    axis = call.attr_int("axis")
    axis = axis + indices.dim() + 1 if axis < 0 else axis
    # int64 holds indices of every integer type, float64 those of the others and what is not whole.
    index = indices.to(torch.float64 if indices.is_floating_point() else torch.int64)
    index = torch.where(index < 0, index + as_int(size), index).unsqueeze(axis)
    positions = arange(size, dtype=index.dtype)
    hot = index == positions.reshape([-1 if i == axis else 1 for i in range(index.dim())])
    off, on = values.unbind()
    return torch.where(hot, on, off)


def _diagonals(rows: Int, columns: Int) -> torch.Tensor:
    """For each element of a matrix the diagonal it is on: 0 the main one, above it positive; int64."""
    return arange(columns) - arange(rows).unsqueeze(1)
