from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import BroadcastableShapes, mutually_broadcastable_shapes

from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import FEW, check_model, check_op, export, run_op, sample

SHAPES = mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=4)
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]


@pytest.mark.parametrize("since", [7, 13, 14])
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div"])
@FEW
@given(shapes=SHAPES, seed=st.integers(0, 99), dtype=st.sampled_from([*FLOATS, *INTEGERS]))
def test_broadcasts_and_keeps_the_element_type(
    op_type: str, since: int, shapes: BroadcastableShapes, seed: int, dtype: str
) -> None:
    if since < 14 and dtype in ("int8", "int16", "uint8", "uint16"):
        dtype = "int64"
    a, b = (sample(shape, dtype, seed=seed + i, low=-99, high=99) for i, shape in enumerate(shapes.input_shapes))
    if op_type == "Div":
        # The reference rounds integers toward minus infinity; ONNX says toward zero.
        b = np.where(b == 0, np.ones_like(b), b)
        if np.dtype(dtype).kind in "iu":
            exact = np.trunc(a.astype(np.float64) / b.astype(np.float64)).astype(dtype)
            return check_op(op_type, [a, b], since, expected=[exact])
    return check_op(op_type, [a, b], since)


@pytest.mark.parametrize("since", [1, 6])
@pytest.mark.parametrize(("op_type", "function"), [("Add", np.add), ("Sub", np.subtract), ("Mul", np.multiply)])
def test_until_version_6_axis_says_where_the_second_shape_begins(op_type: str, function: np.ufunc, since: int) -> None:
    a, b = sample((2, 3, 4, 5)), sample((3, 4), seed=1)
    expected = [function(a, b[None, :, :, None])]
    check_op(op_type, [a, b], since, attributes={"broadcast": 1, "axis": 1}, expected=expected)
    suffix = sample((4, 5), seed=1)
    check_op(op_type, [a, suffix], since, attributes={"broadcast": 1}, expected=[function(a, suffix)])
    check_op("Div", [a, b], since, attributes={"broadcast": 1, "axis": 1}, expected=[a / b[None, :, :, None]])
    check_op(op_type, [a, a], since, expected=[function(a, a)])


@pytest.mark.parametrize("dtype", ["int32", "uint8", "uint16", "uint32", "uint64"])
def test_integers_wrap_around(dtype: str) -> None:
    limits = np.iinfo(dtype)
    a, b = np.array([limits.max, limits.min], dtype), np.array([2, 1], dtype)
    check_op("Add", [a, b], 14)
    check_op("Sub", [b, a], 14)
    check_op("Mul", [a, b], 14)


def test_uint64_quotients_use_all_64_bits() -> None:
    values = np.array([0, 1, 7, 2**62, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1], np.uint64)
    a, b = values[:, None], values[None, 1:]
    check_op("Div", [a, b], 14, expected=[a // b])
    check_op("Mod", [a, b], 13, expected=[a % b])


@pytest.mark.parametrize("since", [10, 13, 28])
@FEW
@given(shapes=SHAPES, seed=st.integers(0, 99), fmod=st.booleans(), dtype=st.sampled_from([*FLOATS, *INTEGERS]))
def test_remainders(since: int, shapes: BroadcastableShapes, seed: int, fmod: bool, dtype: str) -> None:
    a, b = (sample(shape, dtype, seed=seed + i, low=-99, high=99) for i, shape in enumerate(shapes.input_shapes))
    b = np.where(b == 0, np.full_like(b, 3), b)
    fmod = fmod or dtype in FLOATS
    expected = [np.fmod(a, b) if fmod else np.mod(a, b)]
    check_op("Mod", [a, b], since, attributes={"fmod": int(fmod)}, expected=expected)


def test_a_zero_remainder_has_the_sign_of_the_divisor() -> None:
    a, b = np.array([-0.0, 0.0, -6.0, 6.0], np.float32), np.array([3.0, -3.0, 3.0, -3.0], np.float32)
    (result,) = run_op("Mod", [a, b], 28)
    assert np.signbit(result).tolist() == [False, True, False, True]


@pytest.mark.parametrize("since", [1, 7, 12, 13, 15])
def test_power(since: int) -> None:
    base, exponent = sample((3, 4), low=0.1), sample((4,), seed=1)
    attributes = {"broadcast": 1} if since == 1 else {}
    check_op("Pow", [base, exponent], since, attributes=attributes, expected=[np.power(base, exponent)])


@pytest.mark.parametrize("since", [12, 13, 15])
@pytest.mark.parametrize("base", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("exponent", ["float32", "float64", "int32", "int64"])
def test_the_power_has_the_element_type_of_the_base(since: int, base: str, exponent: str) -> None:
    check_op("Pow", [sample((3, 4), base, low=1), sample((4,), exponent, seed=1, low=0, high=3)], since)


def test_an_exact_power_survives_a_float_exponent() -> None:
    base, exponent = np.array([3**16 + 1], np.int64), np.array([2.0], np.float32)
    check_op("Pow", [base, exponent], 15, expected=[base**2])


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Mod", "Pow"])
def test_constants_are_known_and_equal_the_tensors(op_type: str) -> None:
    a, b = np.array([-7, 7, 2**62, -(2**63)], np.int64), np.array([2, 3, 4, 1], np.int64)
    (known,) = run_op(op_type, [a, b], 15 if op_type != "Mod" else 13, constants={0, 1})
    (tensor,) = run_op(op_type, [a, b], 15 if op_type != "Mod" else 13)
    np.testing.assert_array_equal(known, tensor)


def test_shape_arithmetic_stays_symbolic() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 18]>
        graph (float[n, 6] x) => (float[p, q] y) {
            factors = Constant<value_ints = [1, 2]>()
            divisors = Constant<value_ints = [2, 1]>()
            shape = Shape(x)
            wide = Mul(shape, factors)
            target = Div(wide, divisors)
            y = Reshape(x, target)
        }
    """)
    arrays, others = [sample((4, 6))], [sample((10, 6))]
    check_model(model, arrays, symbolic=others)
    targets = {str(node.target) for node in export(Importer(ir.from_proto(model)), arrays, others).graph.nodes}
    assert not any("item" in target for target in targets)
