"""Identity, Transpose, Expand, Tile, DepthToSpace, SpaceToDepth: the same elements, arranged or repeated."""

from __future__ import annotations

import numpy as np
import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, always, equal, integers, numbers, product
from passes.onnx_to_torch.movement import moved
from passes.onnx_to_torch.operands import whole_numbers
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.values import KNOWN_LIMIT, Known, Value


@op("Identity", 1, 13, 14, 16, 19, 21, 23, 24, 25, either=(0,), moves=True)
def identity(_: Call, value: Value) -> Value:
    return value


@op("Transpose", 1, 13, 21, 23, 24, 25, moves=True)
def transpose(call: Call, data: torch.Tensor) -> torch.Tensor:
    return data.permute(call.attr_ints("perm", range(data.dim())[::-1]))


@known("Transpose", 1, 13, 21, 23, 24, 25)
def known_transpose(call: Call, data: Known) -> Known:
    return Known(data.array.transpose(call.attr_ints("perm", range(data.array.ndim)[::-1])), data.dtype)


@op("Expand", 8, 13, shapes=(1,))
def expand(_: Call, data: torch.Tensor, shape: Known) -> torch.Tensor:
    wanted = integers(shape)
    old: list[Int] = [*[1] * (len(wanted) - data.dim()), *data.shape]
    wanted = [*[1] * (len(old) - len(wanted)), *wanted]
    new = [_expanded(*sizes) for sizes in zip(old, wanted, strict=True)]
    unchanged = len(new) == data.dim() and all(size == -1 for size in new)
    return data if unchanged else data.expand(new)


def _expanded(old: Int, wanted: Int) -> Int:
    """The size for torch's expand, where -1 keeps the old one.

    Of two sizes that are both symbols, at most one can be 1 in a valid model, and a symbol stands for sizes
    other than 1: they are equal, and nothing needs to be compared.
    """
    if always(equal(old, 1)):
        return wanted
    same = (
        always(equal(wanted, 1)) or always(equal(old, wanted)) or not (isinstance(old, int) or isinstance(wanted, int))
    )
    return -1 if same else wanted


@known("Expand", 8, 13)
def known_expand(_: Call, data: Known, shape: Known) -> Known | None:
    if not shape.is_concrete:
        return None
    # Both broadcast: a 1 in the shape keeps the old size.
    new = np.broadcast_shapes(data.array.shape, tuple(int(size) for size in shape.elements))
    return Known(np.broadcast_to(data.array, new), data.dtype) if product(new) <= KNOWN_LIMIT else None


@op("Tile", 1, either=(1, 2))
def tile_one_axis(
    call: Call, data: torch.Tensor, tiles: torch.Tensor | Known, axis: torch.Tensor | Known
) -> torch.Tensor:
    """Version 1 repeats along one axis; both numbers have the data's own element type."""
    along = numbers(Known.of(whole_numbers(call, 2, axis)))[0] % data.dim()
    count = whole_numbers(call, 1, tiles)[0]
    return data.repeat([as_int(count) if i == along else 1 for i in range(data.dim())])


@op("Tile", 6, 13, shapes=(1,))
def tile(_: Call, data: torch.Tensor, repeats: Known) -> torch.Tensor:
    return data.repeat(integers(repeats))


@known("Tile", 6, 13)
def known_tile(_: Call, data: Known, repeats: Known) -> Known | None:
    if not repeats.is_concrete:
        return None
    counts = [int(count) for count in repeats.elements]
    return Known(np.tile(data.array, counts), data.dtype) if product(counts) * data.array.size <= KNOWN_LIMIT else None


@op("DepthToSpace", 1, 11, 13, 28)
def depth_to_space(call: Call, data: torch.Tensor) -> torch.Tensor:
    block = call.attr_int("blocksize")
    # Version 1 has no mode: it is what was later called DCR.
    if call.attr_text("mode", "DCR") == "CRD":
        return moved(lambda carried: torch.nn.functional.pixel_shuffle(carried, block), data)
    n, c, h, w = data.shape
    blocks = data.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // block**2, h * block, w * block)


@op("SpaceToDepth", 1, 13, 28)
def space_to_depth(call: Call, data: torch.Tensor) -> torch.Tensor:
    block = call.attr_int("blocksize")
    # Version 28 brought the mode; before, there was what it calls DCR.
    if call.attr_text("mode", "DCR") == "CRD":
        return moved(lambda carried: torch.nn.functional.pixel_unshuffle(carried, block), data)
    n, c, h, w = data.shape
    blocks = data.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, c * block**2, h // block, w // block)
