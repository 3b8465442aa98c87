"""AveragePool, LpPool and their global forms."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int
from passes.onnx_to_torch.precision import computed
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.windows import Windows, ceil_ends, pad_spatial, windows

_AVERAGES = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_GLOBAL_AVERAGES = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@op("AveragePool", 1, 7, 10, 11, 19, 22)
def average_pool(call: Call, data: torch.Tensor) -> torch.Tensor:
    """`count_include_pad` counts the padding as zeros, but never what ceil_mode adds beyond it."""
    area, end = _area(call, data)
    counted = bool(call.attr_int("count_include_pad", 0))
    padding = area.symmetric_padding()
    if padding is not None and set(area.dilations) == {1} and area.admits(padding):
        ceil_mode = bool(call.attr_int("ceil_mode", 0))
        # For volumes in half precision torch has no kernel.
        wide = data.to(computed(data.dtype)) if len(area.kernel) == 3 else data
        pooled = _AVERAGES[len(area.kernel)](wide, area.kernel, area.strides, padding, ceil_mode, counted)
        return pooled.to(data.dtype)
    sums = _window_sums(data, area, end)
    ones = torch.ones((1, 1, *data.shape[2:]), dtype=data.dtype, device=data.device)
    if counted:
        ones = pad_spatial(ones, area.begin, area.end, 1.0)
        beyond = tuple(outer - inner for outer, inner in zip(end, area.end, strict=True))
        none = (0,) * len(beyond)
        counts = _window_sums(pad_spatial(ones, none, beyond), replace(area, begin=none), none)
    else:
        counts = _window_sums(ones, area, end)
    return sums / counts


@op("LpPool", 1, 2, 11, 18, 22)
def lp_pool(call: Call, data: torch.Tensor) -> torch.Tensor:
    """(sum of |x|^p over the window)^(1 / p). In version 1 p is a float."""
    area, end = _area(call, data)
    order = call.attr_float("p") if call.since == 1 else float(call.attr_int("p"))
    return torch.pow(_window_sums(torch.pow(torch.abs(data), order), area, end), 1 / order)


@op("GlobalAveragePool", 1, 22)
def global_average_pool(call: Call, data: torch.Tensor) -> torch.Tensor:
    """As torch's own pooling where it has one: emitters give that back as one node, a mean is another sum."""
    spatial = data.dim() - 2
    if spatial in _GLOBAL_AVERAGES:
        return _GLOBAL_AVERAGES[spatial](data, 1)
    return torch.mean(data, list(range(2, data.dim())), keepdim=True)


@op("GlobalLpPool", 1, 2, 22)
def global_lp_pool(call: Call, data: torch.Tensor) -> torch.Tensor:
    order = call.attr_float("p") if call.since == 1 else float(call.attr_int("p"))
    result: torch.Tensor = torch.linalg.vector_norm(data, order, list(range(2, data.dim())), keepdim=True)
    return result


def _area(call: Call, data: torch.Tensor) -> tuple[Windows, tuple[Int, ...]]:
    kernel = call.attr_ints("kernel_shape")
    if len(kernel) not in _AVERAGES:
        call.unsupported(f"{len(kernel)} spatial axes", "torch pools over one, two or three")
    area = windows(call, kernel, data.shape[2:])
    return area, ceil_ends(area, data.shape[2:]) if call.attr_int("ceil_mode", 0) else area.end


def _window_sums(data: torch.Tensor, area: Windows, end: tuple[Int, ...]) -> torch.Tensor:
    """The sum over each window, zeros around; as a convolution, because that has dilations."""
    padded = pad_spatial(data, area.begin, end)
    rows = padded.reshape(-1, 1, *padded.shape[2:])
    kernel = torch.ones((1, 1, *area.kernel), dtype=data.dtype, device=data.device)
    sums = _CONVOLUTIONS[len(area.kernel)](rows, kernel, None, area.strides, 0, area.dilations)
    return sums.reshape(*data.shape[:2], *sums.shape[2:])
