"""Resampling along one axis, in plain tensor arithmetic: what Resize means where torch's own kernels differ.

Positions and weights are float64: where a sample lies between two elements must not hang on float32 rounding.
Formulas are those of ONNX's Resize and of Keys, "Cubic convolution interpolation for digital image
processing", 1981, equation 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from passes.onnx_to_torch.known_math import Int, arange
from passes.onnx_to_torch.movement import index_select
from passes.onnx_to_torch.sizes import as_int


@dataclass(frozen=True)
class Sampling:
    """How one axis is resampled, and how its positions in the output map to positions in the input.

    `scale` is set where it is not `new / old`: given by the model, or shared by several axes. `mode` is
    ONNX's coordinate_transformation_mode; `roi` is the begin and end that tf_crop_and_resize wants.
    """

    old: Int
    new: Int
    scale: float | None
    mode: str
    roi: tuple[float, float] = (0.0, 1.0)

    def positions(self) -> torch.Tensor:
        """For each output element its position in the input, float64 of shape [new]."""
        index = arange(self.new, dtype=torch.float64)
        last = as_int(self.old) - 1
        match self.mode:
            case "asymmetric":
                at = self._shrunk(index)
            case "tf_half_pixel_for_nn":
                at = self._shrunk(index + 0.5)
            case "half_pixel":
                at = self._shrunk(index + 0.5) - 0.5
            case "pytorch_half_pixel":
                at = self._unless_one(index, self._shrunk(index + 0.5) - 0.5)
            case "half_pixel_symmetric":
                # The input's centre goes to the output's, written so that the very centre is exact.
                from_centre = index + 0.5 - torch.full((), as_int(self.new), dtype=torch.float64) / 2
                at = self._shrunk(from_centre) + torch.full((), as_int(self.old), dtype=torch.float64) / 2 - 0.5
            case "align_corners":
                at = self._unless_one(index, index * last / (self._exact_size() - 1))
            case "tf_crop_and_resize":
                begin, end = self.roi
                middle = (index + 0.5 * (begin + end)) * last
                at = self._unless_one(middle, (begin + index * (end - begin) / (self._exact_size() - 1)) * last)
            case other:
                raise ValueError(f"coordinate_transformation_mode {other!r}")
        return at

    def outside(self) -> torch.Tensor:
        """Which output elements have a position outside the input, bool of shape [new]."""
        positions = self.positions()
        return (positions < 0) | (positions > as_int(self.old) - 1)

    def _unless_one(self, one: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
        """The first for an output of one element, else the second; a size that is a symbol is asked when it runs."""
        if isinstance(self.new, int):
            return one if self.new == 1 else more
        return torch.where(torch.full((), as_int(self.new)) == 1, one, more)

    def _shrunk(self, index: torch.Tensor) -> torch.Tensor:
        # Multiply first: 6 * 7 / 14 is 3, 6 / (14 / 7) need not be for every such triple.
        return index * as_int(self.old) / as_int(self.new) if self.scale is None else index / self.scale

    def _exact_size(self) -> torch.Tensor:
        """The output's size before it was rounded to a whole number, float64 of rank 0."""
        if self.scale is None:
            return torch.full((), as_int(self.new), dtype=torch.float64)
        return torch.full((), as_int(self.old), dtype=torch.float64) * self.scale


@dataclass(frozen=True)
class Kernel:
    """A symmetric interpolation kernel, stretched by 1/`shrink` if it has to smooth (antialias).

    `support` is its reach in input elements before the stretching: 1 for linear, 2 for cubic with coefficient
    `cubic_a`. With `exclude_outside`, elements beyond the border weigh nothing rather than repeat the border.
    """

    support: int
    cubic_a: float = 0.0
    shrink: float = 1.0
    exclude_outside: bool = False

    def weights(self, distance: torch.Tensor) -> torch.Tensor:
        """The weight of elements at a distance from the position."""
        t = (distance * self.shrink).abs()
        if self.support == 1:
            return (1 - t).clamp(min=0)
        a = self.cubic_a
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
        return torch.where(t <= 1, near, torch.where(t < 2, far, 0.0))


def nearest(data: torch.Tensor, axis: int, sampling: Sampling, rounding: str) -> torch.Tensor:
    """Each output element is the input element nearest to its position, by ONNX's nearest_mode."""
    at = sampling.positions()
    match rounding:
        case "round_prefer_floor":
            index = (at - 0.5).ceil()
        case "round_prefer_ceil":
            index = (at + 0.5).floor()
        case "floor":
            index = at.floor()
        case "ceil":
            index = at.ceil()
        case other:
            raise ValueError(f"nearest_mode {other!r}")
    return index_select(data, axis, index.clamp(0, as_int(sampling.old) - 1).to(torch.int64))


def interpolate(data: torch.Tensor, axis: int, sampling: Sampling, kernel: Kernel) -> torch.Tensor:
    """Each output element is a weighted sum of the input elements around its position. `data` is floating."""
    at = sampling.positions()
    base = at.floor()
    reach = math.ceil(kernel.support / kernel.shrink)
    taps = [base + offset for offset in range(1 - reach, 1 + reach)]
    weights = torch.stack([kernel.weights(at - tap) for tap in taps])
    if kernel.shrink != 1:
        weights = weights / weights.sum(0)
    if kernel.exclude_outside:
        inside = torch.stack([(tap >= 0) & (tap <= as_int(sampling.old) - 1) for tap in taps])
        weights = torch.where(inside, weights, 0.0)
        total = weights.sum(0)
        weights = weights / torch.where(total == 0, 1.0, total)
    shape = [-1 if i == axis else 1 for i in range(data.dim())]
    terms = [
        data.index_select(axis, tap.clamp(0, as_int(sampling.old) - 1).to(torch.int64))
        * weight.to(data.dtype).reshape(shape)
        for tap, weight in zip(taps, weights.unbind(), strict=True)
    ]
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result
