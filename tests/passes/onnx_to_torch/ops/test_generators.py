from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import FEW, Array, check_model, check_op, export, run_op, sample


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("since", [11, 27])
@FEW
@given(
    start=st.integers(-9, 9),
    limit=st.integers(-9, 9),
    delta=st.integers(-4, 4).filter(bool),
    dtype=st.sampled_from(["int16", "int32", "int64", "float32", "float64"]),
)
def test_range(since: int, constant: bool, start: int, limit: int, delta: int, dtype: str) -> None:
    bounds = [np.array(bound, dtype) for bound in (start, limit, delta)]
    expected = np.array(range(start, limit, delta), dtype)
    check_op("Range", bounds, since, constants={0, 1, 2} if constant else (), expected=[expected])


def test_range_of_fractions() -> None:
    bounds = [np.array(bound, np.float32) for bound in (0.5, 2.0, 0.25)]
    check_op("Range", bounds, 11, constants={0, 1, 2}, expected=[np.linspace(0.5, 1.75, 6, dtype=np.float32)])


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)])
def test_range_counts_halves_in_single_precision(dtype: np.dtype[np.generic]) -> None:
    bounds = [np.array(bound, np.float32).astype(dtype) for bound in (0, 600, 1)]
    check_op("Range", bounds, 27, expected=[np.arange(600, dtype=np.float32).astype(dtype)])


def test_a_long_range_of_constants() -> None:
    bounds = [np.array(bound, np.int64) for bound in (0, 5000, 2)]
    check_op("Range", bounds, 11, constants={0, 1, 2})


def test_what_constants_say_fixes_the_size() -> None:
    """Nothing is read from a tensor while the program is traced: the sizes are numbers."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        graph (float[3, 2] x, int64[n] ids) => (float[k] line, float[n, m] hot, float[p, q] rows) {
            start = Constant<value = float {0}>()
            limit = Constant<value = float {1.5}>()
            delta = Constant<value = float {0.5}>()
            line = Range(start, limit, delta)
            depth = Constant<value = float {3}>()
            values = Constant<value_floats = [0.0, 1.0]>()
            hot = OneHot(ids, depth, values)
            taken = Constant<value = bool[3] {1, 0, 1}>()
            rows = Compress<axis = 0>(x, taken)
        }
    """)
    arrays, others = [sample((3, 2)), np.array([0, 1])], [sample((3, 2)), np.array([2, 1, -1])]
    check_model(model, arrays, symbolic=others)
    program = export(Importer(ir.from_proto(model)), arrays, others)
    assert "aten.item.default" not in {str(node.target) for node in program.graph.nodes}


def test_range_follows_the_size() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        graph (float[n, t] x) => (int64[k] y, int64[m] z) {
            zero = Constant<value = int64 {0}>()
            one = Constant<value = int64 {1}>()
            two = Constant<value = int64 {2}>()
            shape = Shape(x)
            t0 = Gather(shape, one)
            y = Range(zero, t0, one)
            z = Range(one, t0, two)
        }
    """)
    check_model(model, [sample((2, 7))], symbolic=[sample((3, 12))])


def constant_of_shape(shape: Array, value: Array | None, since: int, *, known: bool) -> None:
    attributes = {} if value is None else {"value": onnx.numpy_helper.from_array(value)}
    filled = np.zeros(1, np.float32) if value is None else value
    expected = np.full(shape, filled.reshape(-1)[0], filled.dtype)
    check_op(
        "ConstantOfShape", [shape], since, attributes=attributes, constants={0} if known else (), expected=[expected]
    )


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("since", [9, 20, 21, 23, 24, 25])
def test_constant_of_shape(since: int, known: bool) -> None:
    shape = np.array([2, 0, 3], np.int64)
    constant_of_shape(shape, None, since, known=known)
    for dtype in ("float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint32", "uint64", "bool"):
        constant_of_shape(np.array([2, 3], np.int64), np.array([1], dtype), since, known=known)
        constant_of_shape(np.array([], np.int64), np.array([1], dtype), since, known=known)


def test_constant_of_shape_of_narrow_floats() -> None:
    for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        constant_of_shape(np.array([3], np.int64), np.array([1.5]).astype(dtype), 20, known=True)


def test_a_large_constant_is_filled_not_listed() -> None:
    constant_of_shape(np.array([64, 64], np.int64), np.array([7], np.int64), 20, known=True)


def test_constant_of_shape_follows_the_size() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        graph (float[n, t] x) => (float[n, t] y) {
            shape = Shape(x)
            y = ConstantOfShape<value = float[1] {2.5}>(shape)
        }
    """)
    check_model(model, [sample((2, 7))], symbolic=[sample((3, 5))])


@pytest.mark.parametrize("since", [9, 22])
@pytest.mark.parametrize("k", [-2, 0, 1, 9])
def test_eye_like(since: int, k: int) -> None:
    check_op("EyeLike", [sample((3, 4), "int32")], since, attributes={"k": k})
    attributes = {"k": k, "dtype": int(onnx.TensorProto.DOUBLE)}
    check_op("EyeLike", [sample((4, 3))], since, attributes=attributes)


def test_eye_like_follows_the_size() -> None:
    check_op("EyeLike", [sample((3, 4))], 22, symbolic=[sample((5, 2))])


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool", "uint16"])
@pytest.mark.parametrize("k", [None, -1, 2])
def test_trilu(k: int | None, dtype: str, upper: int, constant: bool) -> None:
    inputs = [sample((2, 3, 4), dtype), None if k is None else np.array(k, np.int64)]
    check_op("Trilu", inputs, 14, attributes={"upper": upper}, constants={1} if constant else ())


@pytest.mark.parametrize("upper", [0, 1])
def test_a_diagonal_that_is_a_size(upper: int) -> None:
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        graph (float[6, 6] x, float[n] past) => (float[6, 6] y) {{
            size = Size(past)
            y = Trilu<upper = {upper}>(x, size)
        }}
    """)
    check_model(model, [sample((6, 6)), sample((2,))], symbolic=[sample((6, 6)), sample((4,))])


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("since", [9, 11, 28])
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize(
    ("indices", "depth", "values"), [("int64", "int64", "float32"), ("float32", "float32", "int32")]
)
def test_one_hot(since: int, axis: int, indices: str, depth: str, values: str, constant: bool) -> None:
    where = np.array([[0, 3, 1], [2, 2, 0]], indices)
    inputs = [where, np.array(4, depth), np.array([2, 5], values)]
    hot = where[..., None] == np.arange(4)
    expected = np.moveaxis(np.where(hot, inputs[2][1], inputs[2][0]), -1, axis)
    constants = {1, 2} if constant else set[int]()
    check_op("OneHot", inputs, since, attributes={"axis": axis}, constants=constants, expected=[expected])


def test_one_hot_of_indices_outside() -> None:
    inputs: list[Array] = [
        np.array([-1, -4, -5, 4, 9], np.int64),
        np.array([4], np.int64),
        np.array([0, 1], np.float32),
    ]
    expected = np.zeros((5, 4), np.float32)
    expected[0, 3] = expected[1, 0] = 1
    check_op("OneHot", inputs, 11, expected=[expected])


def test_one_hot_of_bytes_sees_depths_beyond_a_byte() -> None:
    inputs: list[Array] = [np.array([0, 200], np.uint8), np.array(300, np.int64), np.array([0, 1], np.float32)]
    (result,) = run_op("OneHot", inputs, 11, constants={1})
    assert result.sum(axis=1).tolist() == [1, 1]
