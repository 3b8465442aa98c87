from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, Array, check_op, sample


def expected_top(data: Array, count: int, axis: int, largest: bool) -> list[Array]:
    order = np.argsort(-data.astype(np.float64) if largest else data, axis, kind="stable")
    indices = np.take(order, range(count), axis)
    return [np.take_along_axis(data, indices, axis), indices]


@pytest.mark.parametrize("since", [1, 10, 11, 24])
@FEW
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=3), data=st.data(), largest=st.booleans())
def test_of_equals_the_first_come_first(since: int, shape: list[int], data: st.DataObject, largest: bool) -> None:
    axis = data.draw(st.integers(0 if since == 1 else -len(shape), len(shape) - 1))
    count = data.draw(st.integers(1, shape[axis]))
    dtype = data.draw(st.sampled_from(["float32", "int8", "int64", "uint16", "uint64"] if since >= 11 else ["float32"]))
    largest = largest or since < 11
    array = sample(shape, dtype, low=-2, high=2).round()
    attributes: dict[str, Any] = {"axis": axis, **({"largest": int(largest)} if since >= 11 else {})}
    inputs = [array, np.array([count], np.int64)]
    if since == 1:
        attributes["k"], inputs = count, [array]
    expected = expected_top(array, count, axis, largest)
    check_op("TopK", inputs, since, attributes=attributes, outputs=2, constants={1}, expected=expected)


def test_exports_with_symbolic_sizes() -> None:
    inputs = [[sample(shape), np.array([2], np.int64)] for shape in ((2, 3), (5, 7))]
    check_op("TopK", inputs[0], 24, outputs=2, constants={1}, symbolic=inputs[1])
