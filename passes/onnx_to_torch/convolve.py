"""Cross-correlation as ONNX's Conv has it, for every operator that is built on one."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.windows import pad_spatial, windows

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def convolve(call: Call, data: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`data` [N, C, spatial...], `weight` [M, C / group, kernel...], `bias` [M].

    Strides, dilations, padding and group are the node's. Raises UnsupportedError for more than three axes.
    """
    rank = data.dim() - 2
    if rank not in _CONVOLUTIONS:
        call.unsupported(f"{rank} spatial axes", "torch convolves over one, two or three")
    area = windows(call, list(weight.shape[2:]), data.shape[2:])
    padding = area.symmetric_padding()
    if padding is None:
        data = pad_spatial(data, area.begin, area.end)
        padding = (0,) * rank
    return _CONVOLUTIONS[rank](data, weight, bias, area.strides, padding, area.dilations, call.attr_int("group"))
