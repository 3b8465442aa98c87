"""A converter for an operator of one's own: `com.example.ScaledSilu`, y = x * sigmoid(alpha * x).

unspool compile model.onnx -o build/custom_op --custom-ops scaled_silu.py --samples samples.npz
"""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import Registry

OPERATORS = Registry()


@OPERATORS.op("ScaledSilu", 1, domain="com.example")
def scaled_silu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The version is that of `com.example` which the model imports; `alpha` is 1 where the node sets none."""
    return x * torch.sigmoid(call.attr_float("alpha", 1.0) * x)
