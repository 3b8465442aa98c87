from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import FEW, check_op, run_op, sample


@pytest.mark.parametrize("since", [1, 11, 22])
@pytest.mark.parametrize("rank", [1, 2, 3])
@FEW
@given(data=st.data())
def test_with_explicit_padding(since: int, rank: int, data: st.DataObject) -> None:
    def per_axis(low: int, high: int, count: int = rank) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    group = data.draw(st.sampled_from([1, 2]))
    kernel, sizes = per_axis(1, 3), per_axis(5, 7)
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": per_axis(1, 3),
        "dilations": per_axis(1, 2),
        "pads": per_axis(0, 2, 2 * rank),
        "group": group,
    }
    weight = sample((4, 2 // group, *kernel), seed=1)
    inputs = [sample((2, 2, *sizes)), weight, sample((4,), seed=2)]
    check_op("Conv", inputs[: data.draw(st.integers(2, 3))], since, attributes=attributes, tolerance=1e-4)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@FEW
@given(kernel=st.integers(1, 4), stride=st.integers(1, 3), dilation=st.integers(1, 2), size=st.integers(7, 9))
def test_with_automatic_padding(mode: str, kernel: int, stride: int, dilation: int, size: int) -> None:
    extent = (kernel - 1) * dilation + 1
    total = 0 if mode == "VALID" else max((-(-size // stride) - 1) * stride + extent - size, 0)
    begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
    inputs = [sample((1, 2, size)), sample((3, 2, kernel), seed=1)]
    attributes = {"strides": [stride], "dilations": [dilation]}
    explicit = run_op("Conv", inputs, 22, attributes={**attributes, "pads": [begin, total - begin]})
    check_op("Conv", inputs, 22, attributes={**attributes, "auto_pad": mode}, expected=explicit)
    assert mode == "VALID" or explicit[0].shape[2] == -(-size // stride)


@pytest.mark.parametrize("mode", ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
def test_exports_with_symbolic_spatial_sizes(mode: str, stride: int) -> None:
    weight = sample((3, 2, 3, 4), seed=1)
    attributes: dict[str, Any] = {"auto_pad": mode, "strides": [stride, stride]}
    if mode == "NOTSET":
        attributes["pads"] = [1, 2, 1, 1]
    inputs = [[sample((batch, 2, rows, rows + 3)), weight] for batch, rows in ((2, 6), (3, 9))]
    check_op("Conv", inputs[0], 22, attributes=attributes, constants={1}, symbolic=inputs[1], tolerance=1e-4)


def test_more_than_three_axes_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="4 spatial axes"):
        run_op("Conv", [np.ones((1, 1, 2, 2, 2, 2), np.float32), np.ones((1, 1, 1, 1, 1, 1), np.float32)], 22)
