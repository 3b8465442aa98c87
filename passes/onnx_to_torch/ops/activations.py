"""Activations: one tensor in, one out, element by element."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import always
from passes.onnx_to_torch.registry import op


@op("Relu", 1, 6, 13, 14)
def relu(call: Call, data: torch.Tensor) -> torch.Tensor:
    return torch.relu(data)


@op("LeakyRelu", 1, 6, 16)
def leaky_relu(call: Call, data: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(data, call.attr_float("alpha"))


@op("PRelu", 1, 6)
def channel_prelu(call: Call, data: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """`slope` has one element, or one for each channel."""
    return F.prelu(data, slope.reshape(-1))


@op("PRelu", 7, 9, 16)
def prelu(call: Call, data: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """`slope` broadcasts to the data."""
    per_channel = slope.dim() == data.dim() - 1 > 0 and all(size == 1 for size in slope.shape[1:])
    if data.is_floating_point() and per_channel and always(slope.shape[0] == data.shape[1]):
        return F.prelu(data, slope.reshape(-1))
    return torch.where(data < 0, slope * data, data) if data.is_signed() else data


@op("Elu", 1, 6, 22)
def elu(call: Call, data: torch.Tensor) -> torch.Tensor:
    return F.elu(data, call.attr_float("alpha"))


@op("Celu", 12, 28)
def celu(call: Call, data: torch.Tensor) -> torch.Tensor:
    return F.celu(data, call.attr_float("alpha"))


@op("Selu", 1, 6, 22)
def selu(call: Call, data: torch.Tensor) -> torch.Tensor:
    """`gamma` * elu(x, `alpha`); torch's own selu has its two constants fixed."""
    return F.elu(data, call.attr_float("alpha")) * call.attr_float("gamma")


@op("ThresholdedRelu", 10, 22)
def thresholded_relu(call: Call, data: torch.Tensor) -> torch.Tensor:
    return torch.where(data > call.attr_float("alpha"), data, 0.0)


@op("HardSigmoid", 1, 6, 22)
def hard_sigmoid(call: Call, data: torch.Tensor) -> torch.Tensor:
    alpha, beta = call.attr_float("alpha"), call.attr_float("beta")
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return F.hardsigmoid(data)
    return torch.clamp(data * alpha + beta, 0.0, 1.0)


@op("HardSwish", 14, 22)
def hard_swish(call: Call, data: torch.Tensor) -> torch.Tensor:
    return F.hardswish(data)


@op("Sigmoid", 1, 6, 13)
def sigmoid(call: Call, data: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(data)


@op("Tanh", 1, 6, 13)
def tanh(call: Call, data: torch.Tensor) -> torch.Tensor:
    return torch.tanh(data)


@op("Softplus", 1, 22)
def softplus(call: Call, data: torch.Tensor) -> torch.Tensor:
    # Above the threshold torch returns x itself: exact from 20 on in float32, but only from 40 in float64.
    return F.softplus(data, threshold=40.0 if data.dtype is torch.float64 else 20.0)


@op("Softsign", 1, 22)
def softsign(call: Call, data: torch.Tensor) -> torch.Tensor:
    return F.softsign(data)


@op("Gelu", 20)
def gelu(call: Call, data: torch.Tensor) -> torch.Tensor:
    return F.gelu(data, approximate=call.attr_text("approximate"))


@op("Mish", 18, 22)
def mish(call: Call, data: torch.Tensor) -> torch.Tensor:
    return F.mish(data)


@op("Swish", 24)
def swish(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _swish(data, call.attr_float("alpha"))


@op("SwiGLU", 28)
def swiglu(call: Call, gate: torch.Tensor, linear: torch.Tensor) -> torch.Tensor:
    return _swish(gate, call.attr_float("alpha")) * linear


def _swish(data: torch.Tensor, alpha: float) -> torch.Tensor:
    return F.silu(data) if alpha == 1 else data * torch.sigmoid(data * alpha)


@op("Shrink", 9)
def shrink(call: Call, data: torch.Tensor) -> torch.Tensor:
    threshold, bias = call.attr_float("lambd"), call.attr_float("bias")
    wide = data if data.is_floating_point() else data.double()
    shrunk = torch.where(wide > threshold, wide - bias, 0.0)
    return torch.where(wide < -threshold, wide + bias, shrunk).to(data.dtype)
