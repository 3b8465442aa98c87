from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import Array, check_op, sample


@pytest.mark.parametrize("axis", [-1, 1, 0, -2])
@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("biased", [True, False])
def test_layer_normalization(axis: int, outputs: int, biased: bool) -> None:
    data = sample((2, 3, 4))
    inputs = [data, sample(data.shape[axis:], seed=1), sample(data.shape[axis:], seed=2)][: 2 + biased]
    check_op("LayerNormalization", inputs, 17, attributes={"axis": axis, "epsilon": 1e-2}, outputs=outputs)


@pytest.mark.parametrize("op_type", ["LayerNormalization", "RMSNormalization"])
@pytest.mark.parametrize("scale", [(4,), (3, 1), (1,), (3, 4)])
def test_the_scale_broadcasts(op_type: str, scale: tuple[int, ...]) -> None:
    inputs = [sample((2, 3, 4)), sample(scale, seed=1)]
    check_op(op_type, inputs, 23, attributes={"axis": 1})


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_statistics_are_float32_by_default(dtype: str) -> None:
    data, scale, bias = (sample(shape, dtype, seed=i) for i, shape in enumerate([(3, 8), (8,), (8,)]))
    wide = data.astype(np.float32)
    mean, variance = wide.mean(-1, keepdims=True), wide.var(-1, keepdims=True)
    inverse = 1 / np.sqrt(variance + np.float32(1e-5))
    expected = [((wide - mean) * inverse * scale + bias).astype(dtype), mean, inverse]
    tolerance = 5e-3 if dtype == "float16" else 1e-5
    check_op("LayerNormalization", [data, scale, bias], 17, outputs=3, expected=expected, tolerance=tolerance)


def test_large_half_precision_does_not_overflow() -> None:
    data = np.array([[60000, -60000, 30000, 0]], np.float16)
    scale = np.ones(4, np.float16)
    for op_type in ("LayerNormalization", "RMSNormalization"):
        wide = data.astype(np.float32)
        centred = wide - wide.mean() if op_type == "LayerNormalization" else wide
        expected = (centred / np.sqrt((centred**2).mean())).astype(np.float16)
        check_op(op_type, [data, scale], 23, expected=[expected])


@pytest.mark.parametrize("axis", [-1, 1, 0])
def test_rms_normalization(axis: int) -> None:
    data = sample((2, 3, 4))
    check_op("RMSNormalization", [data, sample(data.shape[axis:], seed=1)], 23, attributes={"axis": axis})


@pytest.mark.parametrize("op_type", ["LayerNormalization", "RMSNormalization"])
def test_exports_with_symbolic_sizes(op_type: str) -> None:
    def inputs(batch: int, length: int) -> list[Array]:
        return [sample((batch, length, 4)), sample((4,), seed=1)]

    check_op(op_type, inputs(2, 3), 23, constants={1}, symbolic=inputs(5, 7))
