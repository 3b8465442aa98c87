"""GridSample, AffineGrid and Col2Im: sampling at given positions, and putting patches back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, arange, integers, numbers, product
from passes.onnx_to_torch.precision import computed, widest
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.unsigned import modular
from passes.onnx_to_torch.values import Known

_MODES = {"linear": "bilinear", "cubic": "bicubic"}
"""Version 20 renamed them; torch kept the names of the version before."""


@op("GridSample", 16, 20, 22)
def grid_sample(call: Call, data: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    mode = _MODES.get(call.attr_text("mode"), call.attr_text("mode"))
    if data.dim() > 4 and mode == "bicubic":
        call.unsupported("cubic sampling of volumes")
    if not data.is_floating_point():
        call.unsupported(f"data of type {data.dtype}", "cast it to a floating-point type before")
    flat = data.dim() == 3
    if flat:  # a line is an image of height 1, sampled at its middle
        data = data.unsqueeze(2)
        grid = torch.cat([grid, torch.zeros_like(grid)], -1).unsqueeze(1)
    dtype = data.dtype
    wide = widest(computed(dtype), computed(grid.dtype))
    sampled = F.grid_sample(
        data.to(wide),
        grid.to(wide),
        mode,
        call.attr_text("padding_mode"),
        align_corners=bool(call.attr_int("align_corners")),
    ).to(dtype)
    return sampled.squeeze(2) if flat else sampled


@op("AffineGrid", 20, shapes=(1,))
def affine_grid(call: Call, theta: torch.Tensor, size: Known) -> torch.Tensor:
    sizes = [as_int(item) for item in integers(size)]
    return F.affine_grid(theta, sizes, bool(call.attr_int("align_corners")))


@op("Col2Im", 18, shapes=(1, 2))
def col2im(call: Call, data: torch.Tensor, image_shape: Known, block_shape: Known) -> torch.Tensor:
    return modular(lambda columns: _col2im(call, columns, integers(image_shape), numbers(block_shape)), data)


def _col2im(call: Call, data: torch.Tensor, image: Sequence[Int], block: Sequence[int]) -> torch.Tensor:
    rank = len(block)
    dilations = call.attr_ints("dilations", [1] * rank)
    strides = call.attr_ints("strides", [1] * rank)
    pads = call.attr_ints("pads", [0] * 2 * rank)
    if rank == 2 and pads[:2] == pads[2:] and data.is_floating_point():
        sizes = tuple(as_int(size) for size in image)
        return F.fold(data, sizes, tuple(block), tuple(dilations), tuple(pads[:2]), tuple(strides))
    # Any other rank, or uneven pads: each element of each patch is added to its place in the padded image.
    padded = [size + begin + end for size, begin, end in zip(image, pads[:rank], pads[rank:], strict=True)]
    places = torch.zeros((), dtype=torch.int64)
    for axis, (size, kernel, dilation, stride) in enumerate(zip(padded, block, dilations, strides, strict=True)):
        steps = (size - dilation * (kernel - 1) - 1) // stride + 1
        along = _by_axis(arange(kernel) * dilation, axis, 2 * rank) + _by_axis(
            arange(steps) * stride, rank + axis, 2 * rank
        )
        places = places * as_int(size) + along
    channels = data.shape[1] // product(block)
    columns = data.reshape(data.shape[0], channels, -1)
    whole = torch.zeros([data.shape[0], channels, as_int(product(padded))], dtype=data.dtype)
    summed = whole.index_add(2, places.reshape(-1), columns).reshape([*data.shape[:1], channels, *padded])
    for axis, (size, begin) in enumerate(zip(image, pads, strict=False)):
        summed = summed.narrow(2 + axis, begin, as_int(size))
    return summed


def _by_axis(values: torch.Tensor, axis: int, rank: int) -> torch.Tensor:
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])
