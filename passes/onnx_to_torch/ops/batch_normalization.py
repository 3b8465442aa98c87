"""BatchNormalization, for inference and, from version 14 on, with the batch's own statistics."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.precision import widest
from passes.onnx_to_torch.registry import op


@op("BatchNormalization", 1, 6)
def tested_batch_normalization(call: Call, *operands: torch.Tensor) -> torch.Tensor:
    """Until version 6 the default is to train."""
    if not call.attr_int("is_test"):
        call.unsupported("training mode (is_test=0)", "export the model in inference mode")
    return _by_channel(call, *operands) if call.attr_int("spatial") else _by_element(call, *operands)


@op("BatchNormalization", 7)
def spatial_batch_normalization(call: Call, *operands: torch.Tensor) -> torch.Tensor:
    _refuse_statistics(call)
    return _by_channel(call, *operands) if call.attr_int("spatial") else _by_element(call, *operands)


@op("BatchNormalization", 9)
def batch_normalization(call: Call, *operands: torch.Tensor) -> torch.Tensor:
    _refuse_statistics(call)
    return _by_channel(call, *operands)


def _refuse_statistics(call: Call) -> None:
    # In these versions only the number of outputs tells training from inference.
    if call.output_count > 1:
        call.unsupported("training mode (more than one output)", "export the model in inference mode")


@op("BatchNormalization", 14, 15)
def trainable_batch_normalization(
    call: Call,
    data: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """In training mode also the running statistics; the variance is that of the population."""
    if not call.attr_int("training_mode"):
        return _by_channel(call, data, scale, bias, mean, variance)
    axes = [axis for axis in range(data.dim()) if axis != 1]
    momentum = call.attr_float("momentum")
    batch_variance, batch_mean = torch.var_mean(data.to(widest(data.dtype, mean.dtype)), axes, correction=0)
    result = _by_channel(call, data, scale, bias, batch_mean, batch_variance)
    running_mean = mean * momentum + batch_mean * (1 - momentum)
    running_variance = variance * momentum + batch_variance * (1 - momentum)
    return (result, running_mean.to(mean.dtype), running_variance.to(mean.dtype))[: call.output_count]


def _by_channel(
    call: Call,
    data: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
) -> torch.Tensor:
    """`data` [N, C, ...] with statistics [C]. Version 15 lets the element types differ."""
    dtype = widest(*(tensor.dtype for tensor in (data, scale, bias, mean, variance)))
    # ONNX takes a vector too, as one channel.
    wide = data.to(dtype) if data.dim() > 1 else data.to(dtype).unsqueeze(1)
    statistics = (mean.to(dtype), variance.to(dtype), scale.to(dtype), bias.to(dtype))
    result = F.batch_norm(wide, *statistics, training=False, eps=call.attr_float("epsilon"))
    return result.reshape(data.shape).to(data.dtype) if data.dim() == 1 else result.to(data.dtype)


def _by_element(
    call: Call,
    data: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
) -> torch.Tensor:
    """spatial=0: statistics [C, spatial...] for every element of a sample."""
    return (data - mean) / torch.sqrt(variance + call.attr_float("epsilon")) * scale + bias
