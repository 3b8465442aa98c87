from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, Array, sample
from tests.support.onnxruntime_ops import check_contrib

ONE_STEP = 1.01
"""Quotients that fall between two integers may go either way in float32."""


def quantized(shape: tuple[int, ...], dtype: str, seed: int, scale: float = 0.05) -> list[Array]:
    """Data, scale and zero point."""
    zero_point = 120 if dtype == "uint8" else -3
    data = sample(shape, dtype, seed=seed, low=0 if dtype == "uint8" else -128, high=255 if dtype == "uint8" else 127)
    return [data, np.array(scale, np.float32), np.array(zero_point, dtype)]


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@FEW
@given(seed=st.integers(0, 99))
def test_elementwise(dtype: str, seed: int) -> None:
    a, b, result = (quantized((2, 3, 4), dtype, seed + i, scale) for i, scale in enumerate((0.05, 0.03, 0.09)))
    check_contrib("QLinearAdd", [*a, *b, *result[1:]], tolerance=ONE_STEP)
    check_contrib("QLinearMul", [*a, *b, *result[1:]], tolerance=ONE_STEP)
    check_contrib("QLinearLeakyRelu", [*a, *result[1:]], alpha=0.2, constants=(1, 2, 3, 4), tolerance=ONE_STEP)
    check_contrib("QLinearSigmoid", [*a, *result[1:]], constants=(1, 2, 3, 4), tolerance=ONE_STEP)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_pools_and_joins(dtype: str) -> None:
    image = quantized((2, 3, 4, 5), dtype, 0)
    check_contrib("QLinearGlobalAveragePool", [*image, *quantized((), dtype, 1, 0.03)[1:]], tolerance=ONE_STEP)
    parts = [*quantized((2, 3), dtype, 1, 0.03), *quantized((2, 4), dtype, 2, 0.04)]
    joined = [*quantized((), dtype, 0, 0.06)[1:], *parts]
    check_contrib("QLinearConcat", joined, axis=1, constants=(0, 1, 3, 4, 6, 7), tolerance=ONE_STEP)
    result = [np.array(1 / 256, np.float32), np.array(0 if dtype == "uint8" else -128, dtype)]
    inputs = [*quantized((2, 6), dtype, 5, 0.05), *result]
    check_contrib("QLinearSoftmax", inputs, axis=-1, opset=13, constants=(1, 2, 3, 4), tolerance=ONE_STEP)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_selection(dtype: str) -> None:
    condition = sample((2, 4), "bool")
    a, b, result = (quantized((2, 4), dtype, seed, scale) for seed, scale in enumerate((0.05, 0.03, 0.09)))
    check_contrib("QLinearWhere", [condition, *a, *b, *result[1:]], tolerance=ONE_STEP)


@pytest.mark.parametrize("transposed", [0, 1])
@FEW
@given(seed=st.integers(0, 99), bias=st.booleans(), by_column=st.booleans(), requantized=st.booleans())
def test_gemm(transposed: int, seed: int, bias: bool, by_column: bool, requantized: bool) -> None:
    a = quantized((6, 3) if transposed else (3, 6), "uint8", seed)
    columns = (4,) if by_column else ()
    b = (
        sample((4, 6) if transposed else (6, 4), "int8", seed=seed, low=-128, high=127),
        sample(columns, seed=seed, low=0.01, high=0.1),
        sample(columns, "int8", seed=seed, low=-9, high=9),
    )
    c = sample((4,), "int32", seed=seed, low=-900, high=900) if bias else None
    result: list[Array] = [np.array(0.5, np.float32), np.array(120, np.uint8)] if requantized else []
    inputs: list[Array | None] = [*a, *b]
    if bias or requantized:
        inputs += [c, *result]
    check_contrib(
        "QGemm",
        inputs,
        transA=transposed,
        transB=transposed,
        alpha=0.75,
        constants=[i for i in range(1, len(inputs)) if i != 3 and inputs[i] is not None],
        tolerance=ONE_STEP if requantized else 1e-4,
    )


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_products_of_integers_scaled(by_column: bool, bias: bool) -> None:
    a, b = sample((2, 3, 8)), sample((8, 5), "int8", low=-128, high=127)
    scale = sample((5,) if by_column else (), low=0.01, high=0.1)
    zero_point = sample((5,) if by_column else (), "int8", low=-9, high=9)
    extra = [sample((5,), seed=3)] if bias else []
    check_contrib("DynamicQuantizeMatMul", [a, b, scale, zero_point, *extra], constants=(1, 2, 3, 4), tolerance=1e-4)
    left = sample((2, 3, 8), "uint8", low=0, high=255)
    numbers = [np.array(0.02, np.float32), scale, np.array(128, np.uint8), zero_point]
    check_contrib("MatMulIntegerToFloat", [left, b, *numbers, *extra], tolerance=1e-4)


@pytest.mark.parametrize("columns", [32, 40])
@pytest.mark.parametrize(
    ("bits", "zero"), [*((bits, zero) for bits in (2, 4, 8) for zero in ("none", "packed")), (2, "float"), (4, "float")]
)
def test_weights_of_few_bits_in_blocks(bits: int, columns: int, zero: str) -> None:
    rows, block = 6, 16
    blocks = -(-columns // block)
    packed = sample((rows, blocks, block * bits // 8), "uint8", low=0, high=255)
    scales = sample((rows * blocks,), low=0.01, high=0.1)
    zeros: list[Array] = []
    if zero == "packed":
        zeros = [sample((rows * -(-blocks * bits // 8),), "uint8", seed=2, low=0, high=255)]
    if zero == "float":
        zeros = [sample((rows * blocks,), low=0, high=(1 << bits) - 1)]
    inputs = [sample((2, 3, columns)), packed, scales, *zeros]
    check_contrib(
        "MatMulNBits", inputs, constants=(1, 2, 3), tolerance=1e-3, N=rows, K=columns, bits=bits, block_size=block
    )
