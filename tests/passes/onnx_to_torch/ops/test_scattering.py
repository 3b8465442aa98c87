from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import check_op, sample


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_updates_of_one_element_are_combined(reduction: str) -> None:
    indices = np.array([[1, 1, -3, 0]], np.int64)
    inputs = [sample((2, 4)), indices, sample((1, 4), seed=1)]
    check_op("ScatterElements", inputs, 18, attributes={"axis": 1, "reduction": reduction})
    pairs = np.array([[0, 1], [0, 1], [-1, 2]], np.int64)
    inputs = [sample((2, 4)), pairs, sample((3,), seed=1)]
    check_op("ScatterND", inputs, 18, attributes={"reduction": reduction})


@pytest.mark.parametrize("reduction", ["none", "max"])
def test_follows_the_sizes(reduction: str) -> None:
    attributes = {"reduction": reduction}
    inputs = [sample((4, 5)), np.array([[1], [-1]], np.int64), sample((2, 5))]
    others = [sample((6, 3)), np.array([[0], [5], [-3]], np.int64), sample((3, 3))]
    check_op("ScatterND", inputs, 18, attributes=attributes, symbolic=others)
    inputs = [sample((4, 5)), np.array([[1, 0], [-1, 2]], np.int64), sample((2, 2))]
    others = [sample((6, 3)), np.array([[1, 0, 5]], np.int64).repeat(4, 0)[:3], sample((3, 3))]
    check_op("ScatterElements", inputs, 18, attributes=attributes, symbolic=others)
