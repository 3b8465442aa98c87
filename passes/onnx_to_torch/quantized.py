"""Rounding to the integers of a quantized type."""

from __future__ import annotations

import torch

from artifacts.dtype import DType
from passes.onnx_to_torch.carried import limits
from passes.torch_dtypes import torch_dtype_of


def saturated(ratio: torch.Tensor, zero_point: torch.Tensor | None, dtype: DType) -> torch.Tensor:
    """`ratio` rounded, ties to even, then plus `zero_point`, limited to the range of `dtype`.

    `ratio` is real, `zero_point` broadcasts to it, `dtype` is an integer type of at most 16 bits; the result
    has the type of its carrier. Source: the formula of QuantizeLinear in the ONNX operator specification.
    """
    # Not in half precision, whose integers end at 2048.
    rounded = torch.round(ratio).to(torch.float32)
    if zero_point is not None:
        rounded = rounded + zero_point.to(torch.float32)
    carrier = torch_dtype_of(DType.of(dtype.numpy))
    # By way of int32, because a float becomes an unsigned type of 16 bits on no device for certain.
    return torch.clamp(rounded, *limits(dtype)).to(torch.int32).to(carrier)
