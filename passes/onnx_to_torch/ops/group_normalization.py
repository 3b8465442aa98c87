"""GroupNormalization, InstanceNormalization and MeanVarianceNormalization: statistics over whole channels."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.precision import computed, widest
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.tensors import torch_dtype


@op("GroupNormalization", 18)
def group_normalization_by_group(
    call: Call, data: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """`scale` and `bias` have one element for each group."""
    groups = call.attr_int("num_groups")
    members = data.shape[1] // groups
    scale, bias = (tensor.unsqueeze(1).expand(groups, members).reshape(-1) for tensor in (scale, bias))
    return torch.group_norm(data, groups, scale, bias, call.attr_float("epsilon"))


@op("GroupNormalization", 21)
def group_normalization(call: Call, data: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """`scale` and `bias` have one element for each channel."""
    groups, epsilon = call.attr_int("num_groups"), call.attr_float("epsilon")
    stash = torch_dtype(call.attr_int("stash_type"), call.label)
    if widest(stash, data.dtype) in (torch.float32, data.dtype):
        # torch keeps the statistics of half precision in float32 by itself.
        return torch.group_norm(data, groups, scale, bias, epsilon)
    normalized = torch.group_norm(data.to(stash), groups, eps=epsilon).to(data.dtype)
    per_channel = [-1, *[1] * (data.dim() - 2)]
    return normalized * scale.reshape(per_channel) + bias.reshape(per_channel)


@op("InstanceNormalization", 1, 6, 22)
def instance_normalization(call: Call, data: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    # Not F.instance_norm: that refuses a single spatial element, for which ONNX gives the bias. torch takes the
    # statistics of half precision in half precision.
    wide = computed(data.dtype)
    return torch.instance_norm(
        data.to(wide),
        scale.to(wide),
        bias.to(wide),
        running_mean=None,
        running_var=None,
        use_input_stats=True,
        momentum=0.0,
        eps=call.attr_float("epsilon"),
        cudnn_enabled=False,
    ).to(data.dtype)


@op("MeanVarianceNormalization", 9, 13)
def mean_variance_normalization(call: Call, data: torch.Tensor) -> torch.Tensor:
    """(x - mean) / (deviation + 1e-9), the constant being that of the function body in ONNX's schema."""
    wide = data.to(computed(data.dtype))
    variance, mean = torch.var_mean(wide, call.attr_ints("axes"), correction=0, keepdim=True)
    return ((wide - mean) / (torch.sqrt(variance) + 1e-9)).to(data.dtype)
