"""Max, Min, Sum and Mean of any number of tensors, element by element."""

from __future__ import annotations

from functools import reduce

import torch

from passes.onnx_to_torch import known_math
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.unsigned import by_order
from passes.onnx_to_torch.values import Known


@op("Max", 1, 6, 8, 12, 13)
def maximum(call: Call, *operands: torch.Tensor) -> torch.Tensor:
    return by_order(lambda *tensors: reduce(torch.maximum, tensors), *operands)


@op("Min", 1, 6, 8, 12, 13)
def minimum(call: Call, *operands: torch.Tensor) -> torch.Tensor:
    return by_order(lambda *tensors: reduce(torch.minimum, tensors), *operands)


@op("Sum", 1, 6, 8, 13)
def total(call: Call, *operands: torch.Tensor) -> torch.Tensor:
    return reduce(torch.add, operands)


@op("Mean", 1, 6, 8, 13)
def mean(call: Call, *operands: torch.Tensor) -> torch.Tensor:
    return reduce(torch.add, operands) / len(operands)


@known("Max", 12, 13)
def known_maximum(call: Call, *operands: Known) -> Known | None:
    return known_math.elementwise(lambda *items: reduce(known_math.maximum, items), operands[0].dtype, *operands)


@known("Min", 12, 13)
def known_minimum(call: Call, *operands: Known) -> Known | None:
    return known_math.elementwise(lambda *items: reduce(known_math.minimum, items), operands[0].dtype, *operands)
