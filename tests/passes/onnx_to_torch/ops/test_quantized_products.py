from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import Array, check_op, run_op, sample

PAIRS = [("int8", "int8"), ("uint8", "int8"), ("uint8", "uint8"), ("int8", "uint8")]


def wide(quantized: Array, zero_point: Array) -> Array:
    return np.asarray(quantized.astype(np.int64) - zero_point.astype(np.int64))


def rounded(real: Array, zero_point: Array) -> Array:
    limits = np.iinfo(zero_point.dtype)
    return np.asarray(np.clip(np.rint(real) + zero_point, limits.min, limits.max), zero_point.dtype)


@pytest.mark.parametrize(("a_type", "b_type"), PAIRS)
@pytest.mark.parametrize("per", ["tensor", "row and column"])
def test_matmul_integer(a_type: str, b_type: str, per: str) -> None:
    a, b = sample((3, 4), a_type, low=-128, high=255), sample((4, 5), b_type, seed=1, low=-128, high=255)
    a_zero, b_zero = (np.array(5, a_type), np.array(3, b_type))
    if per != "tensor":
        a_zero, b_zero = sample((3,), a_type, low=0), sample((5,), b_type, low=0)
    by_row = a_zero[:, None] if a_zero.ndim else a_zero
    expected = (wide(a, by_row) @ wide(b, b_zero)).astype(np.int32)
    check_op("MatMulInteger", [a, b, a_zero, b_zero], 10, expected=[expected])
    check_op("MatMulInteger", [a, b], 10)


@pytest.mark.parametrize(("x_type", "w_type"), PAIRS)
@pytest.mark.parametrize("attributes", [{}, {"pads": [1, 0, 2, 1]}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}])
def test_convolution_integer(x_type: str, w_type: str, attributes: dict[str, Any]) -> None:
    x, w = sample((2, 4, 6, 6), x_type, high=255), sample((3, 4, 3, 3), w_type, seed=1, high=255)
    x_zero, w_zero = np.array(5, x_type), np.array(3, w_type)
    real = [wide(x, x_zero).astype(np.float64), wide(w, w_zero).astype(np.float64)]
    expected = run_op("Conv", real, 22, attributes=attributes)[0].astype(np.int32)
    check_op("ConvInteger", [x, w, x_zero, w_zero], 10, attributes=attributes, expected=[expected])


def test_convolution_integer_with_a_zero_point_for_each_channel() -> None:
    x, w, zeros = sample((1, 2, 5), "uint8"), sample((3, 2, 3), "int8", seed=1), np.array([1, 2, 3], np.int8)
    real = [x.astype(np.float64), wide(w, zeros[:, None, None]).astype(np.float64)]
    expected = run_op("Conv", real, 22)[0].astype(np.int32)
    check_op("ConvInteger", [x, w, np.array(0, np.uint8), zeros], 10, expected=[expected])


@pytest.mark.parametrize("since", [10, 21])
@pytest.mark.parametrize("per", ["tensor", "row and column"])
def test_qlinear_matmul(since: int, per: str) -> None:
    a, b = sample((3, 4), "uint8", low=0, high=255), sample((4, 5), "int8", seed=1, low=-128, high=127)
    a_scale, a_zero, b_scale, b_zero = (
        np.array(0.02, np.float32),
        np.array(113, np.uint8),
        np.array(0.03, np.float32),
        np.array(-3, np.int8),
    )
    if per != "tensor":
        a_scale, a_zero = sample((3,), low=0.01, high=0.1), sample((3,), "uint8", low=0)
        b_scale, b_zero = sample((5,), low=0.01, high=0.1), sample((5,), "int8")
    y_scale, y_zero = np.array(0.11, np.float32), np.array(118, np.uint8)
    rows = [p[:, None] if p.ndim else p for p in (a_scale, a_zero)]
    real = (wide(a, rows[1]) @ wide(b, b_zero)) * (rows[0] * b_scale / y_scale)
    inputs = [a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero]
    check_op("QLinearMatMul", inputs, since, expected=[rounded(real, y_zero)])


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_qlinear_convolution(biased: bool, per_channel: bool) -> None:
    x, w = sample((2, 2, 6, 6), "uint8", low=0, high=255), sample((3, 2, 3, 3), "int8", seed=1, low=-128, high=127)
    w_scale, w_zero = np.array(0.03, np.float32), np.array(-3, np.int8)
    if per_channel:
        w_scale, w_zero = sample((3,), low=0.01, high=0.1), sample((3,), "int8")
    x_scale, x_zero, y_scale, y_zero = (
        np.array(0.02, np.float32),
        np.array(113, np.uint8),
        np.array(0.4, np.float32),
        np.array(11, np.int8),
    )
    bias = sample((3,), "int32", low=-999, high=999)
    channels, scales = (p.reshape(-1, 1, 1, 1) if p.ndim else p for p in (w_zero, w_scale))
    real = [wide(x, x_zero).astype(np.float64), wide(w, channels).astype(np.float64), bias.astype(np.float64)]
    attributes = {"pads": [1, 1, 0, 0]}
    product = run_op("Conv", real[: 2 + biased], 22, attributes=attributes)[0]
    factor = x_scale * (scales[:, :, :, 0] if per_channel else scales) / y_scale
    inputs = [x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias][: 8 + biased]
    check_op("QLinearConv", inputs, 10, attributes=attributes, expected=[rounded(product * factor, y_zero)])


def test_exports_with_symbolic_sizes() -> None:
    weight: list[Array] = [sample((4, 5), "int8", seed=1), np.array(3, np.uint8), np.array(1, np.int8)]
    inputs = [[sample((rows, 4), "uint8"), *weight] for rows in (2, 5)]
    check_op("MatMulInteger", inputs[0], 10, constants={1, 2, 3}, symbolic=inputs[1])


def test_float8_products_are_refused() -> None:
    one, zero = np.ones((2, 2), ml_dtypes.float8_e4m3fn), np.array(0, ml_dtypes.float8_e4m3fn)
    scale = np.array(1, np.float32)
    with pytest.raises(UnsupportedError, match="float8"):
        run_op("QLinearMatMul", [one, scale, zero, one, scale, zero, scale, zero], 21)


@pytest.mark.parametrize("channels", [8, 64, 700])
def test_convolution_integer_is_exact_for_sums_beyond_what_float32_holds(channels: int) -> None:
    """Sums of odd products near 255 * 255 * 9 * channels: past 2^24 float32 has no odd numbers."""
    x = sample((1, channels, 3, 3), "uint8", low=250, high=255)
    w = sample((2, channels, 3, 3), "uint8", seed=1, low=249, high=255)
    expected = np.einsum("ncij,ocij->no", x.astype(np.int64), w.astype(np.int64)).reshape(1, 2, 1, 1)
    (found,) = run_op("ConvInteger", [x, w], 10)
    np.testing.assert_array_equal(found, expected.astype(np.int32))


def test_a_convolution_of_too_many_products_is_refused() -> None:
    x, w = np.zeros((1, 33_000, 1), np.uint8), np.zeros((1, 33_000, 1), np.int8)
    with pytest.raises(UnsupportedError, match="33000 products"):
        run_op("ConvInteger", [x, w], 10)
