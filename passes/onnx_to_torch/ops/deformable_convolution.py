"""DeformConv: a convolution that samples its input at positions which another input shifts."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.pixels import pixels
from passes.onnx_to_torch.precision import computed
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.windows import Windows, windows


@op("DeformConv", 19, 22)
def deformable_convolution(
    call: Call,
    data: torch.Tensor,
    weight: torch.Tensor,
    offset: torch.Tensor,
    bias: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """`data` [N, C, H, W], `weight` [M, C / group, h, w], `offset` [N, parts * h * w * 2, H', W'] as (y, x).

    Channels fall into `parts` = offset_group parts with offsets, and a `mask` [N, parts * h * w, H', W'] that
    the samples are multiplied by, of their own. Between elements samples are bilinear, outside there are zeros.
    """
    if data.dim() != 4:
        call.unsupported(f"{data.dim() - 2} spatial axes", "two are supported")
    dtype, wide = data.dtype, computed(data.dtype)
    data, weight, offset = data.to(wide), weight.to(wide), offset.to(wide)
    area = windows(call, list(weight.shape[2:]), data.shape[2:])
    parts, group = call.attr_int("offset_group"), call.attr_int("group")
    batch, rows, columns = offset.shape[0], offset.shape[2], offset.shape[3]
    taps = area.kernel[0] * area.kernel[1]
    moved = _positions(area, rows, columns) + offset.reshape(batch * parts, taps, 2, rows, columns)
    samples = _samples(data.reshape(batch * parts, -1, *data.shape[2:]), moved)
    if mask is not None:
        samples = samples * mask.reshape(batch * parts, 1, taps, rows, columns)
    by_group = samples.reshape(batch, group, -1, rows * columns)
    result = torch.matmul(weight.reshape(group, weight.shape[0] // group, -1), by_group)
    result = result.reshape(batch, weight.shape[0], rows, columns)
    return (result if bias is None else result + bias.reshape(-1, 1, 1)).to(dtype)


def _positions(area: Windows, rows: int, columns: int) -> torch.Tensor:
    """Where each tap reads without offsets: [taps, 2, rows, columns], in elements of the data."""
    axes = zip((rows, columns), area.kernel, area.strides, area.dilations, area.begin, strict=True)
    y, x = (
        torch.arange(count) * stride + (torch.arange(kernel) * dilation).unsqueeze(1) - as_int(begin)
        for count, kernel, stride, dilation, begin in axes
    )
    shape = [*area.kernel, rows, columns]
    grids = [y[:, None, :, None].expand(shape), x[None, :, None, :].expand(shape)]
    return torch.stack([grid.flatten(0, 1) for grid in grids], 1)


def _samples(data: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """`data` [B, C, H, W] at `positions` [B, taps, 2, rows, columns]: [B, C, taps, rows, columns].

    Not by grid_sample, which counts from -1 to 1 over the data: whole positions do not survive that exactly.
    """
    height, width = data.shape[2:]
    y, x = (axis.flatten(1) for axis in positions.unbind(2))
    image = torch.arange(data.shape[0]).unsqueeze(1)
    total = torch.zeros((), dtype=data.dtype)
    for row in (y.floor(), y.floor() + 1):
        for column in (x.floor(), x.floor() + 1):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = torch.where(inside, (1 - (y - row).abs()) * (1 - (x - column).abs()), 0.0).unsqueeze(1)
            places = (axis.to(torch.int64).clamp(0, size - 1) for axis, size in ((row, height), (column, width)))
            total = total + pixels(data, image, *places) * weight
    return total.reshape(*data.shape[:2], *positions.shape[1:2], *positions.shape[3:])
