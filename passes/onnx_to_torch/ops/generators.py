"""Range, ConstantOfShape, EyeLike, OneHot: tensors made from a few numbers."""

from __future__ import annotations

import numpy as np
import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import integers, product
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.tensors import torch_dtype
from passes.onnx_to_torch.values import KNOWN_DTYPES, KNOWN_LIMIT, Known, to_tensor


@known("Range", 11, 27)
def known_range(_: Call, start: Known, limit: Known, delta: Known) -> Known | None:
    if not (start.is_concrete and limit.is_concrete and delta.is_concrete):
        return None
    elements = range(*(int(bound.array.reshape(())[()]) for bound in (start, limit, delta)))
    return Known.of(elements, start.dtype) if len(elements) <= KNOWN_LIMIT else None


@op("Range", 11, 27, either=(0, 1, 2))
def make_range(
    _: Call, start: torch.Tensor | Known, limit: torch.Tensor | Known, delta: torch.Tensor | Known
) -> torch.Tensor:
    bounds = (start, limit, delta)
    if all(isinstance(bound, Known) for bound in bounds):
        return torch.arange(
            *(integers(bound)[0] for bound in bounds if isinstance(bound, Known)), dtype=start.dtype
        )
    first, end, step = (to_tensor(bound).reshape(()) for bound in bounds)
    dtype = first.dtype
    # Half precision counts and multiplies in float32: version 27 says so, and version 11 has none.
    if dtype in (torch.float16, torch.bfloat16):
        first, end, step = first.float(), end.float(), step.float()
    count = ((end.double() - first.double()) / step.double()).ceil().clamp(min=0).to(torch.int64).item()
    positions = torch.arange(count, dtype=first.dtype)
    return (first + positions * step).to(dtype)


@op("ConstantOfShape", 9, 20, 21, 23, 24, 25, shapes=(0,))
def constant_of_shape(call: Call, shape: Known) -> torch.Tensor | Known:
    sizes = integers(shape)
    value = call.attr_array("value") if call.has("value") else np.zeros(1, np.float32)
    dtype = (
        torch_dtype(call.attributes["value"].as_tensor().dtype, call.label)
        if call.has("value")
        else torch.float32
    )
    fill = value.reshape(-1)[0].item()
    if dtype in KNOWN_DTYPES and shape.is_concrete and product(sizes) <= KNOWN_LIMIT:
        array = np.empty([int(size) for size in sizes], dtype=object)
        array.fill(fill)
        return Known(array, dtype)
    return torch.full(sizes, fill, dtype=dtype)
