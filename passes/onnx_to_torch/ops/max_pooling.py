"""MaxPool and GlobalMaxPool."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.windows import ceil_ends, pad_spatial, windows

_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_POOLS_WITH_INDICES = {
    1: F.max_pool1d_with_indices,
    2: F.max_pool2d_with_indices,
    3: F.max_pool3d_with_indices,
}


@op("MaxPool", 1, 8, 10, 11, 12, 22)
def max_pool(call: Call, data: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Also the index of each maximum in the flattened input, batch and channels included."""
    kernel = call.attr_ints("kernel_shape")
    rank = len(kernel)
    if rank not in _POOLS:
        call.unsupported(f"{rank} spatial axes", "torch pools over one, two or three")
    area = windows(call, kernel, data.shape[2:])
    ceil_mode = bool(call.attr_int("ceil_mode", 0))
    padding = area.symmetric_padding()
    wide = data if data.is_floating_point() else data.float()  # int8 and uint8, exact
    begin: tuple[Int, ...] = (0,) * rank
    if padding is None or not area.admits(padding):
        begin = area.begin
        end = ceil_ends(area, data.shape[2:]) if ceil_mode else area.end
        wide = pad_spatial(wide, begin, end, float("-inf"))
        padding, ceil_mode = (0,) * rank, False
    where = (area.kernel, area.strides, padding, area.dilations, ceil_mode)
    if call.output_count == 1:
        pool = _POOLS[rank] if isinstance(data.shape[-1], int) or rank > 1 else _max_pool_line
        return pool(wide, *where).to(data.dtype)
    result, positions = _POOLS_WITH_INDICES[rank](wide, *where)
    order = call.attr_int("storage_order", 0)
    return result.to(data.dtype), _flat_indices(positions, wide.shape[2:], begin, data.shape, order)


def _max_pool_line(
    data: torch.Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    dilations: Sequence[int],
    ceil_mode: bool,
) -> torch.Tensor:
    """max_pool1d as a pooling of one row, because under export torch's own pins the length to the sample's."""
    plane = ((1, *kernel), (1, *strides), (0, *padding), (1, *dilations), ceil_mode)
    return F.max_pool2d(data.unsqueeze(2), *plane).squeeze(2)


def _flat_indices(
    positions: torch.Tensor, padded: Sequence[Int], begin: Sequence[Int], shape: Sequence[Int], order: int
) -> torch.Tensor:
    """Positions in one padded channel, which torch gives, as positions in the whole unpadded tensor.

    `order` 1 counts the spatial axes of one channel with the first one fastest.
    """
    batch, channels, *spatial = map(as_int, shape)
    coordinates = []
    for size, first in zip(map(as_int, reversed(padded)), map(as_int, reversed(begin)), strict=True):
        coordinates.append(positions % size - first)
        positions = positions // size
    axes = list(zip(reversed(coordinates), spatial, strict=True))
    if order:
        axes.reverse()
    flat = torch.zeros_like(positions)
    for coordinate, size in axes:
        flat = flat * size + coordinate
    planes = torch.arange(batch * channels, device=positions.device) * math.prod(spatial)
    return flat + planes.reshape(batch, channels, *[1] * len(spatial))


@op("GlobalMaxPool", 1, 22)
def global_max_pool(call: Call, data: torch.Tensor) -> torch.Tensor:
    return torch.amax(data, list(range(2, data.dim())), keepdim=True)
