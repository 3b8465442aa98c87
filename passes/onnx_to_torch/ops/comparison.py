"""Equal, Greater, Less and their like: two tensors in, booleans out."""

from __future__ import annotations

import numpy as np
import torch

from passes.onnx_to_torch import known_math
from passes.onnx_to_torch.broadcasting import aligned
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.unsigned import ordered
from passes.onnx_to_torch.values import Known, Text, to_tensor


@op("Equal", 1, 7, 11, 13)
def equal(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.eq(a, aligned(call, a, b))


@op("Equal", 19, texts=(0, 1))
def equal_strings_too(call: Call, a: torch.Tensor | Text, b: torch.Tensor | Text) -> torch.Tensor | Known:
    if isinstance(a, Text) and isinstance(b, Text):
        return Known(np.asarray(a.array == b.array).astype(object), torch.bool)
    return equal(call, to_tensor(a), to_tensor(b))


@op("Greater", 1, 7, 9, 13)
def greater(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.gt(ordered(a), ordered(aligned(call, a, b)))


@op("Less", 1, 7, 9, 13)
def less(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.lt(ordered(a), ordered(aligned(call, a, b)))


@op("GreaterOrEqual", 12, 16)
def greater_or_equal(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.ge(ordered(a), ordered(b))


@op("LessOrEqual", 12, 16)
def less_or_equal(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.le(ordered(a), ordered(b))


@known("Equal", 7, 11, 13, 19)
def known_equal(call: Call, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(known_math.equal, torch.bool, a, b)


@known("Greater", 9, 13)
def known_greater(call: Call, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(known_math.greater, torch.bool, a, b)


@known("Less", 9, 13)
def known_less(call: Call, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(known_math.less, torch.bool, a, b)


@known("GreaterOrEqual", 12, 16)
def known_greater_or_equal(call: Call, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(known_math.greater_or_equal, torch.bool, a, b)


@known("LessOrEqual", 12, 16)
def known_less_or_equal(call: Call, a: Known, b: Known) -> Known | None:
    return known_math.elementwise(known_math.less_or_equal, torch.bool, a, b)
