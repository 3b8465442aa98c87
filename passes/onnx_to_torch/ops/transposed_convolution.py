"""ConvTranspose over one to three spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from passes.onnx_to_torch import known_math
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.windows import Windows, pad_spatial, windows

_CONVOLUTIONS = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@op("ConvTranspose", 1, 11, 22)
def transposed_convolution(
    call: Call, data: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """`data` [N, C, spatial...], `weight` [C, M / group, kernel...], `bias` [M]."""
    rank = data.dim() - 2
    if rank not in _CONVOLUTIONS:
        call.unsupported(f"{rank} spatial axes", "torch convolves over one, two or three")
    convolve, group = _CONVOLUTIONS[rank], call.attr_int("group")
    area = windows(call, list(weight.shape[2:]), data.shape[2:])
    extra = tuple(call.attr_ints("output_padding", [0] * rank))
    area = _with_output_shape(call, area, data.shape[2:], extra)
    padding = area.symmetric_padding()
    limits = zip(extra, area.strides, area.dilations, strict=True)
    if padding is not None and all(e < max(stride, dilation) for e, stride, dilation in limits):
        return convolve(data, weight, bias, area.strides, padding, extra, group, area.dilations)
    whole = convolve(data, weight, None, area.strides, 0, 0, group, area.dilations)
    begin = tuple(-pad for pad in area.begin)
    end = tuple(more - pad for more, pad in zip(extra, area.end, strict=True))
    cropped = pad_spatial(whole, begin, end)
    return cropped if bias is None else cropped + bias.reshape(-1, *[1] * rank)


def _with_output_shape(call: Call, area: Windows, spatial: Sequence[Int], extra: Sequence[int]) -> Windows:
    """The padding that makes the output as large as `output_shape` or a SAME `auto_pad` wants it.

    SAME means size * stride. Where more is wanted than there is, the rest is added at the end.
    """
    mode = call.attr_text("auto_pad", "NOTSET")
    # What is left over without padding; under SAME the size cancels out, and a symbolic one must not remain.
    if call.has("output_shape"):
        wanted = call.attr_ints("output_shape")[-len(spatial) :]
        whole = zip(wanted, spatial, area.strides, area.extents, extra, strict=True)
        surplus = [stride * (size - 1) + more + extent - target for target, size, stride, extent, more in whole]
    elif mode.startswith("SAME"):
        surplus = [
            extent - stride + more for stride, extent, more in zip(area.strides, area.extents, extra, strict=True)
        ]
    else:
        return area
    totals = [known_math.maximum(total, 0) for total in surplus]
    begin = [total // 2 if mode == "SAME_UPPER" else total - total // 2 for total in totals]
    end = [total - first for total, first in zip(surplus, begin, strict=True)]
    return replace(area, begin=tuple(begin), end=tuple(end))
