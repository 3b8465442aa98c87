from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, check_op, sample


@pytest.mark.parametrize("since", [1, 11, 12, 13])
@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@FEW
@given(data=st.data(), keep=st.integers(0, 1), last=st.integers(0, 1))
def test_the_first_or_the_last_of_equals(op_type: str, since: int, data: st.DataObject, keep: int, last: int) -> None:
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    axis = data.draw(st.integers(0 if since == 1 else -len(shape), len(shape) - 1))
    dtype = data.draw(st.sampled_from(["float16", "float32", "int8", "int64", "uint8", "uint32", "uint64"]))
    attributes: dict[str, Any] = {"axis": axis, "keepdims": keep}
    if since >= 12:
        attributes["select_last_index"] = last
    # Few values, so that there are ties.
    check_op(op_type, [sample(shape, dtype, low=-1, high=1).round()], since, attributes=attributes)


@pytest.mark.parametrize("last", [0, 1])
def test_exports_with_symbolic_sizes(last: int) -> None:
    data, other = sample((2, 3, 4)), sample((5, 7, 4))
    check_op("ArgMax", [data], 13, attributes={"axis": 1, "select_last_index": last}, symbolic=[other])


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_the_upper_half_of_uint64_is_large(op_type: str) -> None:
    check_op(op_type, [np.array([1, 2**63, 2**64 - 1, 0], np.uint64)], 13)
