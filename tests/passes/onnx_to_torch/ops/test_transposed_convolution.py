from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, check_op, run_op, sample
from tests.support.windows import cropped, scattered


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
