from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, Array, check_op, run_op, sample


@pytest.mark.parametrize("since", [19, 22])
@settings(FEW, max_examples=4)
@given(data=st.data(), parts=st.sampled_from([1, 2]), group=st.sampled_from([1, 2]), masked=st.booleans())
def test_matches_the_reference(since: int, data: st.DataObject, parts: int, group: int, masked: bool) -> None:
    kernel, strides, dilations = (
        [data.draw(st.integers(1, high)), data.draw(st.integers(1, high))] for high in (3, 2, 2)
    )
    pads = [data.draw(st.integers(0, 2)) for _ in range(4)]
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    size = [(6 + pads[i] + pads[i + 2] - extents[i]) // strides[i] + 1 for i in range(2)]
    taps = kernel[0] * kernel[1]
    inputs: list[Array | None] = [
        sample((1, 4, 6, 6)),
        sample((2, 4 // group, *kernel), seed=1),
        sample((1, parts * taps * 2, *size), seed=2, low=-2, high=2),
        sample((2,), seed=3) if data.draw(st.booleans()) else None,
        sample((1, parts * taps, *size), seed=4) if masked else None,
    ]
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "pads": pads}
    attributes |= {"kernel_shape": kernel, "group": group, "offset_group": parts}
    check_op("DeformConv", inputs, since, attributes=attributes, tolerance=1e-3)


def test_without_offsets_it_is_a_convolution() -> None:
    data, weight = sample((1, 2, 5, 4)), sample((3, 2, 2, 3), seed=1)
    attributes = {"strides": [2, 1], "pads": [1, 0, 0, 1]}
    (expected,) = run_op("Conv", [data, weight], 22, attributes=attributes)
    offset = np.zeros((1, 2 * 3 * 2, *expected.shape[2:]), np.float32)
    check_op("DeformConv", [data, weight, offset], 22, attributes=attributes, expected=[expected], tolerance=1e-4)


def test_exports_with_symbolic_sizes() -> None:
    def inputs(batch: int, rows: int) -> list[Array]:
        offset = sample((batch, 8, rows - 1, rows - 1), seed=2, low=-1, high=1)
        return [sample((batch, 2, rows, rows)), sample((3, 2, 2, 2), seed=1), offset]

    check_op("DeformConv", inputs(2, 4), 22, constants={1}, symbolic=inputs(3, 6), tolerance=1e-3)
