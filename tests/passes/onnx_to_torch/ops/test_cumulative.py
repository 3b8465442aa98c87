from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, check_op, run_op, sample


@pytest.mark.parametrize(("op_type", "since"), [("CumSum", 11), ("CumSum", 14), ("CumProd", 26)])
@FEW
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    data=st.data(),
    exclusive=st.integers(0, 1),
    reverse=st.integers(0, 1),
)
def test_matches_the_reference(
    op_type: str, since: int, shape: list[int], data: st.DataObject, exclusive: int, reverse: int
) -> None:
    axis = np.array(data.draw(st.integers(-len(shape), len(shape) - 1)), data.draw(st.sampled_from(["int32", "int64"])))
    dtype = data.draw(st.sampled_from(["float32", "float64", "int32", "int64", "uint32", "uint64"]))
    attributes = {"exclusive": exclusive, "reverse": reverse}
    check_op(op_type, [sample(shape, dtype), axis], since, attributes=attributes, constants={1})


@pytest.mark.parametrize("exclusive", [0, 1])
def test_exports_with_symbolic_sizes(exclusive: int) -> None:
    inputs = [[sample((2, length)), np.array(1, np.int64)] for length in (3, 7)]
    check_op("CumSum", inputs[0], 14, attributes={"exclusive": exclusive}, constants={1}, symbolic=inputs[1])


def test_constants_are_known_and_equal_the_tensors() -> None:
    inputs = [np.array([3, -4, 2**62, 2**62, 2**62], np.int64), np.array(0, np.int64)]
    (known,) = run_op("CumSum", inputs, 14, constants={0, 1})
    np.testing.assert_array_equal(known, run_op("CumSum", inputs, 14, constants={1})[0])
