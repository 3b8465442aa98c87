from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import FEW, Array, check_op, compare, export, node_model, run, sample


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
@FEW
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), data=st.data())
def test_along_one_axis(op_type: str, shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    dtype = data.draw(st.sampled_from(["float16", "float32", "float64"]))
    check_op(op_type, [sample(shape, dtype)], 13, attributes={"axis": axis})


@pytest.mark.parametrize("since", [1, 11])
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
@FEW
@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=4), data=st.data())
def test_before_version_13_over_all_axes_from_one_on(
    op_type: str, since: int, shape: list[int], data: st.DataObject
) -> None:
    axis = data.draw(st.none() | st.integers(0 if since == 1 else -len(shape), len(shape) - 1))
    array = sample(shape)
    rows = array.reshape(int(np.prod(shape[: 1 if axis is None else axis % len(shape)])), -1)
    expected = _by_rows(op_type, rows).reshape(shape)
    check_op(op_type, [array], since, attributes={} if axis is None else {"axis": axis}, expected=[expected])


def _by_rows(op_type: str, rows: Array) -> Array:
    if op_type == "Hardmax":
        return np.asarray(np.eye(rows.shape[1], dtype=rows.dtype)[rows.argmax(1)])
    shifted = rows - rows.max(1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return np.asarray(logarithms if op_type == "LogSoftmax" else np.exp(logarithms))


def test_hardmax_takes_the_first_of_equals() -> None:
    data = np.array([[1, 3, 3, 2], [5, 5, 5, 5]], np.float32)
    check_op("Hardmax", [data], 13, expected=[np.array([[0, 1, 0, 0], [1, 0, 0, 0]], np.float32)])


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
def test_exports_with_symbolic_sizes(op_type: str) -> None:
    check_op(op_type, [sample((2, 3, 4))], 13, attributes={"axis": 1}, symbolic=[sample((5, 7, 4))])


def test_exports_over_several_symbolic_axes() -> None:
    data, other = sample((2, 3, 4)), sample((5, 7, 4))
    importer = Importer(ir.from_proto(node_model("Softmax", [data], 11, {"axis": 1})))
    result = run(export(importer, [data], [other]).module(), [other])
    compare(result, [_by_rows("Softmax", other.reshape(5, 28)).reshape(5, 7, 4)])
