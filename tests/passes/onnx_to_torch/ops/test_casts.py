from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import Array, check_op, run_op, sample

SINCE = [6, 9, 13, 19, 21, 23, 24, 25, 28]
NUMERIC = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]
FLOAT8 = ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]
TYPES = {
    "float8_e4m3fn": onnx.TensorProto.FLOAT8E4M3FN,
    "float8_e4m3fnuz": onnx.TensorProto.FLOAT8E4M3FNUZ,
    "float8_e5m2": onnx.TensorProto.FLOAT8E5M2,
    "float8_e5m2fnuz": onnx.TensorProto.FLOAT8E5M2FNUZ,
    "float8_e8m0fnu": onnx.TensorProto.FLOAT8E8M0,
    "bfloat16": onnx.TensorProto.BFLOAT16,
}
EDGES = np.array(
    [0, -0.0, 0.3, 1e-9, 240, 247, 249, 448, 463, 465, 57344, 61439, 61441, -465, 1e9, np.inf, -np.inf, np.nan],
    np.float32,
)


def to(name: str) -> dict[str, int]:
    return {"to": int(TYPES.get(name) or onnx.helper.np_dtype_to_tensor_dtype(np.dtype(name)))}


def check_cast(data: Array, since: int, attributes: Mapping[str, Any], expected: Array) -> None:
    """As check_op does; but numpy finds NaN unequal to itself in the types of ml_dtypes."""
    (result,) = run_op("Cast", [data], since, attributes=attributes)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result.astype(np.float64), expected.astype(np.float64))


@pytest.mark.parametrize("target", NUMERIC)
@pytest.mark.parametrize("source", NUMERIC)
def test_between_numeric_types(source: str, target: str) -> None:
    data = sample((3, 4), source, low=0, high=100)
    for since in (6, 13, 28):
        check_op("Cast", [data], since, attributes=to(target), expected=[data.astype(target)])


@pytest.mark.parametrize("since", SINCE)
def test_every_version(since: int) -> None:
    check_op("Cast", [sample((3,))], since, attributes=to("int32"))


def test_version_1_names_the_type() -> None:
    data = sample((3,))
    check_op("Cast", [data], 1, attributes={"to": "DOUBLE"}, expected=[data.astype(np.float64)])


def test_integers_lose_their_high_bits() -> None:
    data = np.array([200, -1, 300, 2**40 + 5], np.int64)
    for target in ("int8", "uint8", "int16", "int32", "uint32"):
        check_op("Cast", [data], 13, attributes=to(target), expected=[data.astype(target)])


def test_all_but_zero_is_true() -> None:
    data = np.array([0, -0.0, 0.25, np.nan, np.inf], np.float32)
    check_op("Cast", [data], 13, attributes=to("bool"), expected=[np.array([0, 0, 1, 1, 1], bool)])


@pytest.mark.parametrize("target", FLOAT8)
@pytest.mark.parametrize("since", [19, 21, 28])
def test_float8_saturates(since: int, target: str) -> None:
    dtype = getattr(ml_dtypes, target)
    greatest = {"float8_e4m3fn": 448.0, "float8_e4m3fnuz": 240.0}.get(target, 57344.0)
    expected = np.where(np.isnan(EDGES), np.nan, EDGES.clip(-greatest, greatest)).astype(dtype)
    check_cast(EDGES, since, to(target), expected)


@pytest.mark.parametrize("target", FLOAT8)
def test_float8_overflows_where_it_may_not_saturate(target: str) -> None:
    expected = EDGES.astype(getattr(ml_dtypes, target))
    check_cast(EDGES, 19, {**to(target), "saturate": 0}, expected)


@pytest.mark.parametrize("target", [*FLOAT8, "bfloat16"])
def test_back_from_narrow_floats(target: str) -> None:
    dtype = getattr(ml_dtypes, target)
    data: Array = np.array([0.5, -2, 1.25, 96], np.float32).astype(dtype)
    check_op("Cast", [data], 19, attributes=to("float32"), expected=[data.astype(np.float32)])
    check_op("Cast", [data], 19, attributes=to("float16"), expected=[data.astype(np.float16)])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("up", [0.25, 0.5, 0.5, 1.0, 2.0, 4.0, 2.0**-127, 2.0**127, np.nan]),
        ("down", [0.25, 0.25, 0.25, 1.0, 1.0, 2.0, 2.0**-127, 2.0**127, np.nan]),
        ("nearest", [0.25, 0.25, 0.5, 1.0, 2.0, 4.0, 2.0**-127, 2.0**127, np.nan]),
    ],
)
def test_an_exponent_alone(mode: str, expected: list[float]) -> None:
    data = np.array([0.25, 0.26, 0.45, 1, 1.5, 3, 2.0**-127, np.inf, np.nan], np.float32)
    wanted = np.array(expected, np.float32).astype(ml_dtypes.float8_e8m0fnu)
    check_cast(data, 24, {**to("float8_e8m0fnu"), "round_mode": mode}, wanted)


def test_an_exponent_alone_is_not_a_number_beyond_its_range() -> None:
    data = np.array([0, np.inf, 3.3e38, 1], np.float32)
    wanted = np.array([np.nan, np.nan, np.nan, 1], np.float32).astype(ml_dtypes.float8_e8m0fnu)
    attributes = {**to("float8_e8m0fnu"), "round_mode": "nearest", "saturate": 0}
    check_cast(data, 24, attributes, wanted)


@pytest.mark.parametrize("since", [15, 19, 21, 23, 24, 25])
@pytest.mark.parametrize("target", ["int64", "bool", "float16"])
def test_cast_like(since: int, target: str) -> None:
    check_op("CastLike", [sample((3, 4)), np.zeros(2, target)], since)


@pytest.mark.parametrize(
    ("source", "target"), [("float32", "int32"), ("int8", "uint8"), ("float64", "int64"), ("bool", "uint8")]
)
def test_bit_cast(source: str, target: str) -> None:
    data = sample((3, 4), source)
    check_op("BitCast", [data], 26, attributes=to(target), expected=[data.view(target)])


def test_constants_are_known_and_equal_the_tensors() -> None:
    data = np.array([0, 1, -1, 2**31, 2**32 + 7], np.int64)
    for target in ("int32", "bool", "int64", "float32", "int8"):
        (known,) = run_op("Cast", [data], 13, attributes=to(target), constants={0})
        (like,) = run_op("CastLike", [data, np.zeros(1, target)], 15, constants={0, 1})
        np.testing.assert_array_equal(known, data.astype(target))
        np.testing.assert_array_equal(like, data.astype(target))


def test_strings_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="STRING"):
        run_op("Cast", [sample((3,))], 13, attributes={"to": int(onnx.TensorProto.STRING)})
