"""Sums over places against torch's convolutions, whatever their sizes."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from passes.interpreter import call
from passes.unroll_depthwise import UnrollDepthwise
from tests.support.programs import operators, traced

aten = torch.ops.aten
_CONVOLUTIONS = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}


@st.composite
def convolutions(
    draw: st.DrawFn,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, list[int], list[int], list[int], int]:
    """Arguments of a convolution with a kernel for each channel, of one, two or three axes."""
    rank = draw(st.sampled_from([1, 1, 2, 2, 3]))

    def each(least: int, most: int) -> list[int]:
        return draw(st.lists(st.integers(least, most), min_size=rank, max_size=rank))

    kernel, stride, padding, dilation = each(1, 4), each(1, 3), each(0, 3), each(1, 3)
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    sizes = [max(s - 2 * p, 1) + more for s, p, more in zip(span, padding, each(0, 4), strict=True)]
    channels, multiplier, rows = draw(st.integers(2, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    seeded = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    data = torch.randn(rows, channels, *sizes, generator=seeded)
    weight = torch.randn(channels * multiplier, 1, *kernel, generator=seeded)
    bias = torch.randn(channels * multiplier, generator=seeded) if draw(st.booleans()) else None
    return data, weight, bias, stride, padding, dilation, channels


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_a_sum_over_places_is_the_convolution(
    arguments: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, list[int], list[int], list[int], int],
) -> None:
    data, weight, bias, *how = arguments
    convolution = _CONVOLUTIONS[data.dim() - 2]
    given_bias = () if bias is None else (bias,)

    def convolved(x: torch.Tensor, w: torch.Tensor, *b: torch.Tensor) -> tuple[torch.Tensor]:
        return (convolution(x, w, b[0] if b else None, *how),)

    program = traced(convolved, data, weight, *given_bias)
    result = UnrollDepthwise()(program)
    assert not any("conv" in name for name in operators(result.program.functions["main"]))
    inputs = {f"x{number}": tensor.numpy() for number, tensor in enumerate((data, weight, *given_bias))}
    (expected,) = call(program, "main", inputs).values()
    (actual,) = call(result.program, "main", inputs).values()
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual.astype(np.float32), expected.astype(np.float32), rtol=1e-5, atol=1e-5)
