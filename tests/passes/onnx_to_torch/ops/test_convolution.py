from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import check_op, run_op, sample


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
