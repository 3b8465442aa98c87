from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import Array, check_model, check_op, export, run_op, sample

INPUT = {
    "ReduceSum": (13,),
    "ReduceMax": (18, 20),
    "ReduceMin": (18, 20),
    **dict.fromkeys(("ReduceMean", "ReduceProd", "ReduceSumSquare", "ReduceL1", "ReduceL2"), (18,)),
    **dict.fromkeys(("ReduceLogSum", "ReduceLogSumExp"), (18, 28)),
}


@pytest.mark.parametrize("op_type", list(INPUT))
@pytest.mark.parametrize("keep", [0, 1])
def test_of_an_empty_set(op_type: str, keep: int) -> None:
    if op_type == "ReduceMean":
        return
    inputs: list[Array] = [np.zeros((2, 0, 3), np.float32), np.array([1], np.int64)]
    check_op(op_type, inputs, max(INPUT[op_type]), attributes={"keepdims": keep}, constants={1})


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint32", "uint64"])
@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceMean", "ReduceL1"])
def test_on_integers(op_type: str, dtype: str) -> None:
    extremes = op_type in ("ReduceMax", "ReduceMin")
    if extremes or dtype not in ("int8", "uint8"):
        inputs: list[Array] = [
            sample((3, 4), dtype, low=0 if op_type == "ReduceMean" else -9, high=9),
            np.array([1], np.int64),
        ]
        expected = [np.abs(inputs[0]).sum(1, keepdims=True).astype(dtype)] if op_type == "ReduceL1" else None
        check_op(op_type, inputs, max(INPUT[op_type]), constants={1}, expected=expected)
        if extremes:
            empty: list[Array] = [np.zeros((2, 0), dtype), inputs[1]]
            check_op(op_type, empty, max(INPUT[op_type]), constants={1})


def test_the_mean_of_integers_rounds_toward_zero() -> None:
    inputs: list[Array] = [np.array([[-3, -4], [3, 4]], np.int32), np.array([1], np.int64)]
    check_op("ReduceMean", inputs, 18, constants={1}, expected=[np.array([[-3], [3]], np.int32)])


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("shape", [(3, 4), (3, 0)])
def test_extremes_of_booleans(op_type: str, shape: tuple[int, ...]) -> None:
    check_op(op_type, [sample(shape, bool), np.array([1], np.int64)], 20, constants={1})


def test_the_sum_of_exponentials_does_not_overflow() -> None:
    data = np.array([[1000, 1000]], np.float64)
    expected = [np.array([[1000 + np.log(2)]])]
    check_op("ReduceLogSumExp", [data, np.array([1], np.int64)], 18, constants={1}, expected=expected)


@pytest.mark.parametrize("op_type", list(INPUT))
def test_exports_with_symbolic_sizes(op_type: str) -> None:
    inputs = [[sample(shape, low=0.1), np.array([0, 2], np.int64)] for shape in ((2, 3, 4), (5, 7, 6))]
    check_op(op_type, inputs[0], 18, constants={1}, symbolic=inputs[1], tolerance=1e-4)


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("since", [11, 18])
def test_constants_are_known_and_equal_the_tensors(op_type: str, keep: int, since: int) -> None:
    inputs = [np.array([3, -4, 9], np.int64), np.array([0], np.int64)][: 1 if since == 11 else 2]
    (known,) = run_op(op_type, inputs, since, attributes={"keepdims": keep}, constants={0, 1})
    (tensor,) = run_op(op_type, inputs, since, attributes={"keepdims": keep}, constants={1})
    np.testing.assert_array_equal(known, tensor)
    assert known.shape == tensor.shape


def test_the_product_of_a_shape_stays_symbolic() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 18]>
        graph (float[n, m] x) => (float[p] y) {
            shape = Shape(x)
            size = ReduceProd(shape)
            y = Reshape(x, size)
        }
    """)
    arrays, others = [sample((4, 6))], [sample((5, 7))]
    check_model(model, arrays, symbolic=others)
    targets = {str(node.target) for node in export(Importer(ir.from_proto(model)), arrays, others).graph.nodes}
    assert not any("item" in target for target in targets)
