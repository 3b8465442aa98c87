from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import Array, check_op, run_op, sample

VERSIONS = (10, 13, 19, 21, 23, 24, 25, 28)


@pytest.mark.parametrize("since", VERSIONS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_one_scale_there_and_back(since: int, dtype: str) -> None:
    if since < 21 and dtype.endswith("16"):
        return
    scale, zero_point = np.array(0.05, np.float32), np.array(7, dtype)
    data = sample((3, 4), low=-99, high=99)
    check_op("QuantizeLinear", [data, scale, zero_point], since)
    quantized = run_op("QuantizeLinear", [data, scale, zero_point], since)[0]
    wide = quantized.astype(np.float32)
    check_op("DequantizeLinear", [quantized, scale, zero_point], since, expected=[(wide - 7) * scale])
    check_op("DequantizeLinear", [quantized, scale], since, expected=[wide * scale])


@pytest.mark.parametrize("since", VERSIONS)
def test_ties_go_to_even_before_the_zero_point_is_added(since: int) -> None:
    data, scale, zero_point = (
        np.array([-1.5, -0.5, 0.5, 1.5, 2.5], np.float32),
        np.array(1, np.float32),
        np.array(1, np.int8),
    )
    expected = np.array([-1, 1, 1, 3, 3], np.int8)
    check_op("QuantizeLinear", [data, scale, zero_point], since, expected=[expected])


@pytest.mark.parametrize("since", VERSIONS)
def test_uint8_is_the_default_and_saturates(since: int) -> None:
    data = np.array([-1e9, -1, 0, 254.4, 256, 1e30, np.inf, -np.inf], np.float32)
    expected = np.array([0, 0, 0, 254, 255, 255, 255, 0], np.uint8)
    check_op("QuantizeLinear", [data, np.array(1, np.float32)], since, expected=[expected])


@pytest.mark.parametrize("since", VERSIONS[1:])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_a_scale_for_each_index_of_an_axis(since: int, axis: int | None) -> None:
    size = (3, 4, 5)[1 if axis is None else axis]
    scale, zero_point = sample((size,), low=0.01, high=0.1), sample((size,), "int8", low=-9, high=9)
    attributes = {} if axis is None else {"axis": axis}
    check_op("QuantizeLinear", [sample((3, 4, 5)), scale, zero_point], since, attributes=attributes)
    data = sample((3, 4, 5), "int8", low=-128, high=127)
    at = [-1 if i == (1 if axis is None else axis % 3) else 1 for i in range(3)]
    expected = (data.astype(np.float32) - zero_point.reshape(at)) * scale.reshape(at)
    check_op("DequantizeLinear", [data, scale, zero_point], since, attributes=attributes, expected=[expected])


@pytest.mark.parametrize("since", VERSIONS[3:])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_scale_for_each_block(since: int, axis: int) -> None:
    blocks = (2, 5) if axis == 0 else (4, 3)
    scale, zero_point = sample(blocks, low=0.01, high=0.1), sample(blocks, "uint8", low=0, high=9)
    attributes = {"axis": axis, "block_size": 2}
    for op_type, data in (("QuantizeLinear", sample((4, 5))), ("DequantizeLinear", sample((4, 5), "uint8", high=255))):
        wide = [np.repeat(a, 2, axis)[:4, :5] for a in (scale, zero_point)]
        if op_type == "QuantizeLinear":
            expected = np.clip(np.rint(data / wide[0]) + wide[1], 0, 255).astype(np.uint8)
        else:
            expected = (data.astype(np.float32) - wide[1]) * wide[0]
        check_op(op_type, [data, scale, zero_point], since, attributes=attributes, expected=[expected])


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"])
@pytest.mark.parametrize("since", [19, 21, 28])
def test_float8(kind: str, since: int) -> None:
    dtype = getattr(ml_dtypes, kind)
    greatest = torch.finfo(getattr(torch, kind)).max
    data = np.array([0.1, -3.3, 440, 1e9, -1e9], np.float32)
    scale, zero_point = np.array(2, np.float32), np.array(0, dtype)
    expected = np.clip(data / 2, -greatest, greatest).astype(dtype)
    check_op("QuantizeLinear", [data, scale, zero_point], since, expected=[expected])
    check_op("DequantizeLinear", [expected, scale], since, expected=[expected.astype(np.float32) * 2])


def test_float8_that_may_overflow_is_refused() -> None:
    inputs = [sample((3,)), np.array(1, np.float32), np.array(0, ml_dtypes.float8_e4m3fn)]
    with pytest.raises(UnsupportedError, match="saturate=0"):
        run_op("QuantizeLinear", inputs, 19, attributes={"saturate": 0})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_scales_give_half_precision(dtype: str) -> None:
    kind = getattr(ml_dtypes, dtype) if dtype == "bfloat16" else np.dtype(dtype)
    inputs: list[Array] = [sample((3, 4), "int8", low=-128, high=127), np.array(0.5, kind), np.array(3, np.int8)]
    check_op("DequantizeLinear", inputs, 19)
    attributes: dict[str, Any] = {"output_dtype": 1}
    check_op("DequantizeLinear", inputs, 23, attributes=attributes)


@pytest.mark.parametrize("output_dtype", [2, 3, 4, 5])
def test_the_output_type_may_be_an_attribute(output_dtype: int) -> None:
    inputs = [sample((3, 4)), np.array(0.05, np.float32)]
    check_op("QuantizeLinear", inputs, 21, attributes={"output_dtype": output_dtype})


def test_int32_data() -> None:
    check_op("QuantizeLinear", [sample((5,), "int32"), np.array(2, np.float32), np.array(1, np.int8)], 10)
    data = sample((5,), "int32")
    check_op("DequantizeLinear", [data, np.array(2, np.float32)], 10, expected=[data.astype(np.float32) * 2])


@pytest.mark.parametrize("bounds", [(-4, 4), (1, 4), (-4, -1), (0, 0)])
def test_dynamic(bounds: tuple[float, float]) -> None:
    data, other = (sample(shape, low=bounds[0], high=bounds[1]) for shape in ((3, 4), (7, 4)))
    check_op("DynamicQuantizeLinear", [data], 11, outputs=3, symbolic=[other])


@pytest.mark.parametrize("op_type", ["QuantizeLinear", "DequantizeLinear"])
def test_exports_with_symbolic_sizes(op_type: str) -> None:
    dtype = "float32" if op_type == "QuantizeLinear" else "uint8"
    rest: list[Array] = [sample((4,), low=0.1), sample((4,), "uint8", low=0)]
    inputs = [[sample((rows, 4), dtype), *rest] for rows in (2, 5)]
    check_op(op_type, inputs[0], 21, attributes={"axis": 1}, constants={1, 2}, symbolic=inputs[1])
