"""Where the kernel of a convolution or a pooling is applied: strides, dilations and padding of a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from passes.onnx_to_torch import known_math
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int
from passes.onnx_to_torch.sizes import as_int


@dataclass(frozen=True)
class Windows:
    """One entry per spatial axis. `begin` and `end` are the padding, in elements."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[Int, ...]
    end: tuple[Int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """Elements from the first to the last that one window touches."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def symmetric_padding(self) -> tuple[int, ...] | None:
        """The padding if it is the same number on both sides, which torch's own kernels take; else None."""
        sizes = tuple(size for size in self.begin if isinstance(size, int))
        return sizes if sizes == self.end else None

    def admits(self, padding: Sequence[int]) -> bool:
        """True if all of torch's pooling kernels take the padding: at most half of the kernel."""
        return all(2 * size <= kernel for size, kernel in zip(padding, self.kernel, strict=True))


def windows(call: Call, kernel: Sequence[int], spatial: Sequence[Int]) -> Windows:
    """The windows of a node over an input of the given spatial sizes.

    SAME_UPPER and SAME_LOWER pad so that ceil(size / stride) windows fit; the odd element goes to the end or
    to the beginning.
    """
    rank = len(kernel)
    strides = call.attr_ints("strides", [1] * rank)
    dilations = call.attr_ints("dilations", [1] * rank)
    unpadded = Windows(tuple(kernel), tuple(strides), tuple(dilations), (0,) * rank, (0,) * rank)
    mode = call.attr_text("auto_pad", "NOTSET")
    if mode == "VALID":
        return unpadded
    if mode == "NOTSET":
        pads = call.attr_ints("pads", [0] * 2 * rank)
        return replace(unpadded, begin=tuple(pads[:rank]), end=tuple(pads[rank:]))
    totals = [_same_padding(*axis) for axis in zip(spatial, strides, unpadded.extents, strict=True)]
    less = tuple(total // 2 for total in totals)
    more = tuple(total - half for total, half in zip(totals, less, strict=True))
    begin, end = (less, more) if mode == "SAME_UPPER" else (more, less)
    return replace(unpadded, begin=begin, end=end)


def _same_padding(size: Int, stride: int, extent: int) -> Int:
    if stride == 1:
        return extent - 1  # whatever the size: a symbolic size leaves the padding concrete
    count = (size + stride - 1) // stride
    return known_math.maximum((count - 1) * stride + extent - size, 0)


def pad_spatial(data: torch.Tensor, begin: Sequence[Int], end: Sequence[Int], value: float = 0.0) -> torch.Tensor:
    """`data` [N, C, spatial...] with `value` added around its spatial axes; negative sizes crop."""
    if not any(isinstance(size, torch.SymInt) or size for size in (*begin, *end)):
        return data
    pads = [size for pair in zip(reversed(begin), reversed(end), strict=True) for size in pair]
    return F.pad(data, list(map(as_int, pads)), value=value)


def ceil_ends(area: Windows, spatial: Sequence[Int]) -> tuple[Int, ...]:
    """The padding at the end with which flooring counts as many windows as ceil_mode does.

    A window that would begin beyond the input and the padding before it does not count.
    """
    ends = []
    axes = zip(spatial, area.strides, area.extents, area.begin, area.end, strict=True)
    for size, stride, extent, begin, end in axes:
        rounded = (size + begin + end - extent + stride - 1) // stride + 1
        count = known_math.minimum(rounded, (size + begin + stride - 1) // stride)
        ends.append(known_math.maximum((count - 1) * stride + extent - size - begin, end))
    return tuple(ends)
