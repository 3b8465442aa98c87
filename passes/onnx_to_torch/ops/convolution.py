"""Conv: cross-correlation over one to three spatial axes."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.convolve import convolve
from passes.onnx_to_torch.registry import op


@op("Conv", 1, 11, 22)
def convolution(call: Call, data: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return convolve(call, data, weight, bias)
