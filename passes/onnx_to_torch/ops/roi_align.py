"""RoiAlign: regions of images, each sampled on a grid of its own."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.pixels import pixels
from passes.onnx_to_torch.precision import computed
from passes.onnx_to_torch.registry import op


@op("RoiAlign", 10, 16, 22)
def roi_align(call: Call, data: torch.Tensor, regions: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """`data` [N, C, H, W], `regions` [R, 4] as (x1, y1, x2, y2), each of image `images` [R]: [R, C, rows, columns].

    Every cell of the result is the mean of samples on a grid, each bilinear (He et al. 2017, Mask R-CNN). In mode
    "max" it is the greatest of the four weighted neighbours of all samples, as ONNX Runtime has it.
    """
    dtype = data.dtype
    data, regions = (tensor.to(computed(dtype)) for tensor in (data, regions))
    samples = call.attr_int("sampling_ratio")
    if samples <= 0:
        call.unsupported("sampling_ratio=0", "the number of samples would depend on each region's size")
    # Version 16 moved pixel centres to halves; before, regions were at least one pixel wide and high.
    halves = call.since >= 16 and call.attr_text("coordinate_transformation_mode") == "half_pixel"
    scaled = regions * call.attr_float("spatial_scale") - (0.5 if halves else 0.0)
    x1, y1, x2, y2 = scaled.unsqueeze(-1).unbind(1)
    high, wide = (y2 - y1, x2 - x1) if halves else ((y2 - y1).clamp(min=1.0), (x2 - x1).clamp(min=1.0))
    rows, columns = call.attr_int("output_height"), call.attr_int("output_width")
    y = y1 + high * _grid(rows, samples, data.dtype)
    x = x1 + wide * _grid(columns, samples, data.dtype)
    # Each row of the grid with each column: [R, rows * samples * columns * samples].
    shape = (-1, rows * samples, columns * samples)
    y, x = y.unsqueeze(2).expand(shape).flatten(1), x.unsqueeze(1).expand(shape).flatten(1)
    neighbours = _neighbours(data, images.reshape(-1, 1), y, x)
    cells = neighbours.reshape(4, -1, data.shape[1], rows, samples, columns, samples)
    result = cells.amax((0, 4, 6)) if call.attr_text("mode") == "max" else cells.sum(0).mean((3, 5))
    return result.to(dtype)


def _grid(cells: int, samples: int, dtype: torch.dtype) -> torch.Tensor:
    """Middles of equal parts of 0..1."""
    return (torch.arange(cells * samples, dtype=dtype) + 0.5) / (cells * samples)


def _neighbours(data: torch.Tensor, image: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The four elements around each place, times their bilinear weights: [4, R, C, points].

    A place up to one pixel outside counts as the edge, one further out as zeros.
    """
    height, width = data.shape[2:]
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.floor(), x.floor()
    down, right = y - top, x - left
    found = []
    for row, row_weight in ((top, 1 - down), ((top + 1).clamp(max=height - 1), down)):
        for column, column_weight in ((left, 1 - right), ((left + 1).clamp(max=width - 1), right)):
            weight = torch.where(inside, row_weight * column_weight, 0.0).unsqueeze(1)
            found.append(pixels(data, image, row.to(torch.int64), column.to(torch.int64)) * weight)
    return torch.stack(found)
