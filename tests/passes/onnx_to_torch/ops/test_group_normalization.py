from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import Array, check_op, sample


def by_group(data: Array, groups: int) -> Array:
    """`data` with mean 0 and variance 1 in each group of channels."""
    rows = data.astype(np.float64).reshape(data.shape[0], groups, -1)
    centred = rows - rows.mean(-1, keepdims=True)
    return np.asarray((centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)).reshape(data.shape))


@pytest.mark.parametrize("since", [18, 21])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 4, 3, 5)])
def test_group_normalization(since: int, groups: int, shape: tuple[int, ...]) -> None:
    data, size = sample(shape), groups if since == 18 else 4
    scale, bias = sample((size,), seed=1), sample((size,), seed=2)
    wide = [np.repeat(a, 4 // size).reshape(-1, *[1] * (len(shape) - 2)) for a in (scale, bias)]
    expected = (by_group(data, groups) * wide[0] + wide[1]).astype(np.float32)
    check_op("GroupNormalization", [data, scale, bias], since, attributes={"num_groups": groups}, expected=[expected])


def test_group_normalization_in_half_precision() -> None:
    data = sample((2, 4, 64), "float16", low=-200, high=200)
    scale, bias = np.ones(4, np.float16), np.zeros(4, np.float16)
    expected = by_group(data, 2).astype(np.float16)
    check_op("GroupNormalization", [data, scale, bias], 21, attributes={"num_groups": 2}, expected=[expected])


@pytest.mark.parametrize("since", [1, 6, 22])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 2, 2)])
def test_instance_normalization(since: int, shape: tuple[int, ...]) -> None:
    inputs = [sample(shape), sample((3,), seed=1), sample((3,), seed=2)]
    check_op("InstanceNormalization", inputs, since, attributes={"epsilon": 1e-2})


def test_a_single_element_is_its_own_mean() -> None:
    bias = sample((3,), seed=2)
    inputs = [sample((2, 3, 1)), sample((3,), seed=1), bias]
    expected = np.broadcast_to(bias[:, None], (2, 3, 1))
    check_op("InstanceNormalization", inputs, 22, expected=[expected], tolerance=1e-3)


@pytest.mark.parametrize("op_type", ["GroupNormalization", "InstanceNormalization"])
def test_exports_with_symbolic_sizes(op_type: str) -> None:
    inputs = [[sample(shape), sample((4,), seed=1), sample((4,), seed=2)] for shape in ((2, 4, 3, 5), (3, 4, 7, 6))]
    attributes = {"num_groups": 2} if op_type == "GroupNormalization" else {}
    check_op(op_type, inputs[0], 22, attributes=attributes, constants={1, 2}, symbolic=inputs[1], tolerance=1e-4)


@pytest.mark.parametrize("since", [9, 13])
@pytest.mark.parametrize("axes", [None, [0, 2, 3], [1], [-1, -2]])
def test_mean_variance_normalization(since: int, axes: list[int] | None) -> None:
    data, over = sample((3, 2, 4, 5)), tuple(axes or (0, 2, 3))
    expected = (data - data.mean(over, keepdims=True)) / data.std(over, keepdims=True)
    attributes = {} if axes is None else {"axes": axes}
    check_op("MeanVarianceNormalization", [data], since, attributes=attributes, expected=[expected], tolerance=1e-4)
