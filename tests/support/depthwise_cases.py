"""Convolutions with and without a kernel for each channel, for the golden texts of `unroll-depthwise`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from passes.program import Program
from tests.support.programs import Array, bare, normal, parsed


def _sound(attributes: str, kernel: Array, *more: str) -> Callable[[], Program]:
    operands = ", ".join(("x", "k", *more))
    text = f"g (float[n, 2, t] x) => (float[n, c, s] y) {{ y = Conv <{attributes}> ({operands}) }}"
    bias = {name: normal(len(kernel), seed=2) for name in more}
    return lambda: bare(parsed(text, k=kernel, **bias), {"x": normal(3, 2, 7)})


def _half_sound() -> Program:
    text = """g (float[n, 2, t] x) => (float[n, 2, s] y) {
        low = Cast <to = 10> (x)
        sums = Conv <group = 2> (low, k, b)
        y = Cast <to = 1> (sums)
    }"""
    kernel, bias = normal(2, 1, 2).astype(np.float16), normal(2, seed=2).astype(np.float16)
    return bare(parsed(text, k=kernel, b=bias), {"x": normal(3, 2, 7)})


def _image(attributes: str, kernel: Array) -> Callable[[], Program]:
    text = f"g (float[n, 2, h, w] x) => (float[n, c, i, j] y) {{ y = Conv <{attributes}> (x, k) }}"
    return lambda: bare(parsed(text, k=kernel), {"x": normal(3, 2, 7, 9)})


DEPTHWISE: Mapping[str, Callable[[], Program]] = {
    "nothing_to_do": _sound("pads = [1, 1]", normal(2, 2, 3)),
    "of_a_sound_with_a_bias": _sound("group = 2, pads = [1, 1]", normal(2, 1, 3), "b"),
    "of_an_image_with_strides_and_dilations": _image(
        "group = 2, pads = [1, 2, 1, 2], strides = [2, 1], dilations = [1, 2]", normal(2, 1, 2, 3)
    ),
    "several_kernels_for_a_channel": _sound("group = 2", normal(4, 1, 2), "b"),
    "one_place_is_one_product": _sound("group = 2, strides = [2]", normal(2, 1, 1)),
    "sums_of_16_bits_are_of_32": _half_sound,
    "a_kernel_of_many_places_stays": _sound("group = 2, pads = [5, 5]", normal(2, 1, 10)),
    "groups_of_several_channels_stay": _image("group = 1", normal(2, 2, 2, 2)),
}
