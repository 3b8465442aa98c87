"""Resize and Upsample: by torch's interpolation kernels where they mean the same, else axis by axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.interpolation import Kernel, Sampling, interpolate, nearest
from passes.onnx_to_torch.known_math import Int, always, equal, integers
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.values import Known

_TORCH_LINEAR = ("linear", "bilinear", "trilinear")
_TORCH_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})

_REPEATING = frozenset(
    {
        ("asymmetric", "floor"),
        ("half_pixel", "round_prefer_floor"),
        ("half_pixel", "round_prefer_ceil"),
        ("pytorch_half_pixel", "round_prefer_floor"),
        ("pytorch_half_pixel", "round_prefer_ceil"),
        ("tf_half_pixel_for_nn", "floor"),
    }
)
"""Transformation and rounding that give floor(i / k) for a whole factor k: (2i + 1) / 2k is never whole."""


@op("Upsample", 1)
def upsample_height_and_width(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _by_scales(call, data, [1.0, 1.0, call.attr_float("height_scale"), call.attr_float("width_scale")])


@op("Upsample", 7)
def upsample_by_attribute(call: Call, data: torch.Tensor) -> torch.Tensor:
    return _by_scales(call, data, call.attr_floats("scales"))


@op("Upsample", 9, 10)
@op("Resize", 10)
def resize_by_scales(call: Call, data: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return _by_scales(call, data, _floats(call, 1, scales))


@op("Resize", 11, 13, 18, 19, shapes=(3,))
def resize(
    call: Call,
    data: torch.Tensor,
    roi: torch.Tensor | None = None,
    scales: torch.Tensor | None = None,
    sizes: Known | None = None,
) -> torch.Tensor:
    axes = [axis % data.dim() for axis in call.attr_ints("axes", range(data.dim()))]
    mode = call.attr_text("coordinate_transformation_mode")
    regions = _floats(call, 1, roi) if roi is not None and mode == "tf_crop_and_resize" else []
    if scales is not None and scales.numel() > 0:
        factors: Sequence[float | None] = _floats(call, 2, scales)
        news = [_scaled(data.shape[axis], factor) for axis, factor in zip(axes, factors, strict=True)]
    elif sizes is not None:
        news, factors = _by_sizes(call, [data.shape[axis] for axis in axes], integers(sizes))
    else:
        call.unsupported("neither scales nor sizes are given")
    samplings = {}
    for i, (axis, new, factor) in enumerate(zip(axes, news, factors, strict=True)):
        region = (regions[i], regions[i + len(axes)]) if regions else (0.0, 1.0)
        samplings[axis] = Sampling(data.shape[axis], new, factor, mode, region)
    return _resize(call, data, samplings)


def _by_scales(call: Call, data: torch.Tensor, scales: Sequence[float]) -> torch.Tensor:
    """The versions before transformation modes: a position is divided by the scale, nearest rounds down."""
    samplings = {
        axis: Sampling(size, _scaled(size, scale), scale, "asymmetric")
        for axis, (size, scale) in enumerate(zip(data.shape, scales, strict=True))
    }
    return _resize(call, data, samplings)


def _floats(call: Call, position: int, given: torch.Tensor) -> list[float]:
    static = call.static(position)
    if static is not None:
        return [float(item) for item in static.reshape(-1)]
    found = [item.item() for item in given.reshape(-1).unbind()]
    if not all(isinstance(item, float) for item in found):  # traced: a symbol for each
        call.unsupported("scales or roi computed by the model", "export with fixed scales, or with sizes")
    return found


def _scaled(size: Int, scale: float | None) -> Int:
    """Size times scale, rounded down; a float is an exact fraction, so symbols work too."""
    exact = Fraction(scale or 1.0)
    return size * exact.numerator // exact.denominator


def _by_sizes(call: Call, olds: list[Int], wanted: list[Int]) -> tuple[list[Int], list[float | None]]:
    policy = call.attr_text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return wanted, [None] * len(wanted)
    pairs = [(old, new) for old, new in zip(olds, wanted, strict=True) if isinstance(old, int) and isinstance(new, int)]
    if len(pairs) < len(wanted):
        call.unsupported(f"keep_aspect_ratio_policy {policy!r} of sizes that are not fixed")
    ratios = [new / old for old, new in pairs]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [math.floor(scale * old + 0.5) for old, _ in pairs], [scale] * len(pairs)


def _resize(call: Call, data: torch.Tensor, samplings: dict[int, Sampling]) -> torch.Tensor:
    changed = {axis: sampling for axis, sampling in samplings.items() if not _is_identity(sampling)}
    if not changed:
        return data
    mode = {"bilinear": "linear"}.get(call.attr_text("mode"), call.attr_text("mode"))
    if mode == "nearest":
        return _nearest(call, data, changed)
    if _fits_torch(call, data, changed, mode):
        return _by_torch(data, changed, mode)
    # Half precision and integers are computed wider and rounded once.
    wide = (
        data
        if data.dtype in (torch.float32, torch.float64)
        else data.to(torch.float32 if data.is_floating_point() else torch.float64)
    )
    for axis, sampling in changed.items():
        wide = interpolate(wide, axis, sampling, _kernel(call, sampling, mode))
        if sampling.mode == "tf_crop_and_resize":
            wide = _extrapolated(call, wide, axis, sampling)
    return _narrowed(wide, data.dtype)


def _is_identity(sampling: Sampling) -> bool:
    whole = sampling.scale in (None, 1.0) and sampling.roi == (0.0, 1.0)
    return whole and always(equal(sampling.old, sampling.new))


def _nearest(call: Call, data: torch.Tensor, samplings: dict[int, Sampling]) -> torch.Tensor:
    rounding = call.attr_text("nearest_mode", "floor" if call.since <= 10 else None)
    factors = [_repeats(sampling, rounding) for sampling in samplings.values()]
    if all(factors) and _is_spatial(data, samplings) and data.dtype in _TORCH_FLOATS:
        by_axis = dict(zip(samplings, factors, strict=True))
        scales = [float(by_axis.get(axis) or 1) for axis in range(2, data.dim())]
        return F.interpolate(data, scale_factor=scales, mode="nearest")
    for axis, sampling in samplings.items():
        data = nearest(data, axis, sampling, rounding)
        if sampling.mode == "tf_crop_and_resize":
            data = _extrapolated(call, data, axis, sampling)
    return data


def _repeats(sampling: Sampling, rounding: str) -> int | None:
    """How often each element is repeated, if that is all that happens and torch's kernel does it exactly.

    It multiplies a position by the float32 reciprocal of the factor and rounds down: right as long as the
    reciprocal was not rounded down itself.
    """
    if sampling.scale is not None:
        factor = int(sampling.scale) if sampling.scale.is_integer() else 0
    elif isinstance(sampling.old, int) and isinstance(sampling.new, int):
        factor = sampling.new // sampling.old if sampling.new % sampling.old == 0 else 0
    else:
        factor = 0
    exact = factor > 0 and float(np.float32(1 / factor)) >= 1 / factor
    return factor if exact and (sampling.mode, rounding) in _REPEATING else None


def _fits_torch(call: Call, data: torch.Tensor, samplings: dict[int, Sampling], mode: str) -> bool:
    plain = not call.attr_int("exclude_outside", 0) and not call.attr_int("antialias", 0)
    cubic = data.dim() == 4 and call.attr_float("cubic_coeff_a", -0.75) == -0.75
    return (
        plain
        and (mode == "linear" or cubic)
        and data.dtype in _TORCH_FLOATS
        and _is_spatial(data, samplings)
        and all(_maps_like_torch(sampling) for sampling in samplings.values())
    )


def _maps_like_torch(sampling: Sampling) -> bool:
    """Whether torch maps positions in the same way, given the sizes or the scales."""
    if sampling.scale is not None:
        # Before rounding, the size has to be what torch makes of the scale; align_corners needs it whole.
        fraction = Fraction(sampling.scale)
        whole = always(equal(sampling.new * fraction.denominator, sampling.old * fraction.numerator))
        if sampling.mode == "align_corners" and not whole:
            return False
        if not always(equal(sampling.new, _scaled(sampling.old, sampling.scale))):
            return False
    if sampling.mode == "pytorch_half_pixel":
        return not (isinstance(sampling.new, int) and sampling.new == 1)
    return sampling.mode in ("half_pixel", "align_corners")


def _is_spatial(data: torch.Tensor, samplings: dict[int, Sampling]) -> bool:
    """Whether batch and channels stay as they are, and torch has kernels for the number of other axes."""
    return 3 <= data.dim() <= 5 and min(samplings) >= 2


def _by_torch(data: torch.Tensor, samplings: dict[int, Sampling], mode: str) -> torch.Tensor:
    spatial = range(2, data.dim())
    first = next(iter(samplings.values()))
    kind = "bicubic" if mode == "cubic" else _TORCH_LINEAR[data.dim() - 3]
    corners = first.mode == "align_corners"
    if first.scale is None:
        sizes: list[Any] = [samplings[i].new if i in samplings else data.shape[i] for i in spatial]
        return F.interpolate(data, size=sizes, mode=kind, align_corners=corners)
    scales = [samplings[i].scale or 1.0 if i in samplings else 1.0 for i in spatial]
    return F.interpolate(data, scale_factor=scales, mode=kind, align_corners=corners)


def _kernel(call: Call, sampling: Sampling, mode: str) -> Kernel:
    shrink = 1.0
    if call.attr_int("antialias", 0):
        if sampling.scale is not None:
            shrink = min(sampling.scale, 1.0)
        elif isinstance(sampling.old, int) and isinstance(sampling.new, int):
            shrink = min(sampling.new / sampling.old, 1.0)
        else:
            call.unsupported("antialias between sizes that are not fixed")
    return Kernel(
        support=1 if mode == "linear" else 2,
        cubic_a=call.attr_float("cubic_coeff_a", -0.75),
        shrink=shrink,
        exclude_outside=bool(call.attr_int("exclude_outside", 0)),
    )


def _extrapolated(call: Call, data: torch.Tensor, axis: int, sampling: Sampling) -> torch.Tensor:
    outside = sampling.outside().reshape([-1 if i == axis else 1 for i in range(data.dim())])
    return torch.where(outside, call.attr_float("extrapolation_value"), data)


def _narrowed(data: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Back to the input's type: integers to the nearest, ties to even, within their range."""
    if dtype.is_floating_point:
        return data.to(dtype)
    limits = torch.iinfo(dtype)
    return data.round().clamp(limits.min, limits.max).to(dtype)
