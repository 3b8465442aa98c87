from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import check_model, check_op, export, run_op, sample


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


def test_a_zero_remainder_has_the_sign_of_the_divisor() -> None:
    a, b = np.array([-0.0, 0.0, -6.0, 6.0], np.float32), np.array([3.0, -3.0, 3.0, -3.0], np.float32)
    (result,) = run_op("Mod", [a, b], 28)
    assert np.signbit(result).tolist() == [False, True, False, True]


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
