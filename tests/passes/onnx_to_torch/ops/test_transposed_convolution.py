from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, Array, check_op, run_op, sample


def scattered(data: Array, weight: Array, strides: list[int], dilations: list[int], group: int) -> Array:
    """The whole output, without padding, straight from the definition: every input element adds its kernel."""
    kernel, sizes = weight.shape[2:], data.shape[2:]
    per_group, outputs = data.shape[1] // group, weight.shape[1]
    shape = [s * (n - 1) + d * (k - 1) + 1 for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)]
    result = np.zeros((data.shape[0], outputs * group, *shape), np.float64)
    for at in np.ndindex(*sizes):
        for tap in np.ndindex(*kernel):
            to = tuple(s * a + d * t for a, t, s, d in zip(at, tap, strides, dilations, strict=True))
            for g in range(group):
                block = slice(g * per_group, (g + 1) * per_group)
                product = data[(slice(None), block, *at)] @ weight[(block, slice(None), *tap)]
                result[(slice(None), slice(g * outputs, (g + 1) * outputs), *to)] += product
    return result


def cropped(whole: Array, begin: list[int], end: list[int]) -> Array:
    """`whole` without `begin` and `end` elements at the sides; negative numbers add zeros."""
    wide = np.pad(whole, [(0, 0), (0, 0), *((max(-b, 0), max(-e, 0)) for b, e in zip(begin, end, strict=True))])
    cuts = (slice(max(b, 0), n - max(e, 0)) for b, e, n in zip(begin, end, wide.shape[2:], strict=True))
    return np.asarray(wide[(slice(None), slice(None), *cuts)])


@pytest.mark.parametrize("since", [1, 11, 22])
@pytest.mark.parametrize("rank", [1, 2, 3])
@FEW
@given(data=st.data())
def test_with_explicit_padding(since: int, rank: int, data: st.DataObject) -> None:
    def per_axis(low: int, high: int, count: int = rank) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    group = data.draw(st.sampled_from([1, 2]))
    kernel, sizes, strides, dilations = per_axis(2, 3), per_axis(3, 4), per_axis(1, 3), per_axis(1, 2)
    pads, extra = per_axis(0, 2, 2 * rank), [data.draw(st.integers(0, s - 1)) for s in strides]
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "pads": pads, "group": group}
    attributes["output_padding"] = extra
    inputs = [sample((2, 4, *sizes)), sample((4, 2, *kernel), seed=1), sample((2 * group,), seed=2)]
    whole = scattered(inputs[0], inputs[1], strides, dilations, group)
    ends = [pad - more for pad, more in zip(pads[rank:], extra, strict=True)]
    expected = cropped(whole, pads[:rank], ends) + inputs[2].reshape(-1, *[1] * rank)
    if min(expected.shape) > 0:
        check_op(
            "ConvTranspose",
            inputs,
            since,
            attributes=attributes,
            expected=[expected.astype(np.float32)],
            tolerance=1e-4,
        )


@pytest.mark.parametrize("mode", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@FEW
@given(kernel=st.integers(1, 4), stride=st.integers(1, 3), wanted=st.integers(4, 16))
def test_output_shape_makes_the_padding(mode: str, kernel: int, stride: int, wanted: int) -> None:
    inputs = [sample((1, 2, 5)), sample((2, 3, kernel), seed=1)]
    surplus = stride * 4 + kernel - wanted
    total = max(surplus, 0)
    begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
    expected = cropped(scattered(inputs[0], inputs[1], [stride], [1], 1), [begin], [surplus - begin]).astype(np.float32)
    attributes: dict[str, Any] = {"strides": [stride], "output_shape": [wanted], "auto_pad": mode}
    check_op("ConvTranspose", inputs, 22, attributes=attributes, expected=[expected])


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_same_multiplies_the_size_by_the_stride(mode: str) -> None:
    weight = sample((2, 3, 3), seed=1)
    inputs = [[sample((batch, 2, size)), weight] for batch, size in ((1, 5), (2, 8))]
    attributes: dict[str, Any] = {"strides": [2], "auto_pad": mode}
    assert run_op("ConvTranspose", inputs[0], 22, attributes=attributes)[0].shape == (1, 3, 10)
    begin = 0 if mode == "SAME_UPPER" else 1
    expected = cropped(scattered(inputs[0][0], weight, [2], [1], 1), [begin], [1 - begin]).astype(np.float32)
    check_op("ConvTranspose", inputs[0], 22, attributes=attributes, expected=[expected])


def test_exports_with_symbolic_spatial_sizes() -> None:
    weight = sample((2, 3, 3, 3), seed=1)
    inputs = [[sample((batch, 2, rows, rows + 1)), weight] for batch, rows in ((2, 4), (3, 7))]
    attributes = {"strides": [2, 2], "pads": [1, 1, 0, 1]}
    check_op("ConvTranspose", inputs[0], 22, attributes=attributes, constants={1}, symbolic=inputs[1])
