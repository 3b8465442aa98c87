from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, Array, check_op, sample

DTYPES = st.sampled_from(["float32", "float64", "int32", "int64", "uint8", "uint16", "uint32"])
REDUCTIONS = {11: ["none"], 13: ["none"], 16: ["none", "add", "mul"], 18: ["none", "add", "mul", "max", "min"]}
CASES = [(since, reduction) for since, reductions in REDUCTIONS.items() for reduction in reductions]


def distinct(shape: tuple[int, int], size: int, axis: int, seed: int) -> Array:
    """Positions that are distinct along an axis, about half of them counted from the end."""
    generator = np.random.default_rng(seed)
    rows = np.stack([generator.permutation(size)[: shape[axis]] for _ in range(shape[1 - axis])])
    rows = rows - size * generator.integers(0, 2, rows.shape)
    return np.asarray(rows.T if axis == 0 else rows, np.int64)


@pytest.mark.parametrize(("since", "reduction"), CASES)
@FEW
@given(axis=st.integers(-2, 1), seed=st.integers(0, 99), dtype=DTYPES)
def test_scatter_elements(since: int, reduction: str, axis: int, seed: int, dtype: str) -> None:
    data = sample((4, 5), dtype)
    shape = (3, 5) if axis % 2 == 0 else (4, 2)
    indices = distinct(shape, data.shape[axis], axis % 2, seed)
    attributes = {"axis": axis} | ({"reduction": reduction} if since >= 16 else {})
    check_op("ScatterElements", [data, indices, sample(shape, dtype, seed=1)], since, attributes=attributes)


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_updates_of_one_element_are_combined(reduction: str) -> None:
    indices = np.array([[1, 1, -3, 0]], np.int64)
    inputs = [sample((2, 4)), indices, sample((1, 4), seed=1)]
    check_op("ScatterElements", inputs, 18, attributes={"axis": 1, "reduction": reduction})
    pairs = np.array([[0, 1], [0, 1], [-1, 2]], np.int64)
    inputs = [sample((2, 4)), pairs, sample((3,), seed=1)]
    check_op("ScatterND", inputs, 18, attributes={"reduction": reduction})


@pytest.mark.parametrize("since", [9, 11])
def test_scatter(since: int) -> None:
    data, updates = sample((3, 3)), sample((2, 3), seed=1)
    indices = np.array([[1, 0, 2], [0, 2, 1]], np.int64)
    expected = data.copy()
    np.put_along_axis(expected, indices, updates, 0)
    check_op("Scatter", [data, indices, updates], since, attributes={"axis": 0}, expected=[expected])


@pytest.mark.parametrize("dtype", ["bool", "float16", "uint64"])
def test_other_types_are_moved(dtype: str) -> None:
    data, updates = sample((3, 3), dtype), sample((2, 3), dtype, seed=1)
    indices = np.array([[1, 0, 2], [0, 2, 1]], np.int64)
    check_op("ScatterElements", [data, indices, updates], 18, attributes={"axis": 0})
    check_op("ScatterND", [data, np.array([[2], [0]], np.int64), updates], 18)


@pytest.mark.parametrize(("since", "reduction"), CASES)
@pytest.mark.parametrize("depth", [1, 2, 3])
@FEW
@given(seed=st.integers(0, 99), dtype=DTYPES)
def test_scatter_nd(since: int, reduction: str, depth: int, seed: int, dtype: str) -> None:
    data = sample((3, 4, 2), dtype)
    generator = np.random.default_rng(seed)
    flat = generator.permutation(int(np.prod(data.shape[:depth])))[:3]
    found = np.stack(np.unravel_index(flat, data.shape[:depth]), -1)
    indices = np.asarray(found - np.array(data.shape[:depth]) * generator.integers(0, 2, found.shape), np.int64)
    updates = sample((3, *data.shape[depth:]), dtype, seed=1)
    attributes = {"reduction": reduction} if since >= 16 else {}
    check_op("ScatterND", [data, indices, updates], since, attributes=attributes)


@pytest.mark.parametrize("reduction", ["none", "max"])
def test_follows_the_sizes(reduction: str) -> None:
    attributes = {"reduction": reduction}
    inputs = [sample((4, 5)), np.array([[1], [-1]], np.int64), sample((2, 5))]
    others = [sample((6, 3)), np.array([[0], [5], [-3]], np.int64), sample((3, 3))]
    check_op("ScatterND", inputs, 18, attributes=attributes, symbolic=others)
    inputs = [sample((4, 5)), np.array([[1, 0], [-1, 2]], np.int64), sample((2, 2))]
    others = [sample((6, 3)), np.array([[1, 0, 5]], np.int64).repeat(4, 0)[:3], sample((3, 3))]
    check_op("ScatterElements", inputs, 18, attributes=attributes, symbolic=others)


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("axis", [1, -2, 2])
@pytest.mark.parametrize("given", [True, False])
def test_tensor_scatter(mode: str, axis: int, given: bool) -> None:
    """Write rows of a cache, for each item of the batch from a position of its own."""
    past, update = sample((2, 4, 5, 3)), sample((2, 4, 5, 3), seed=1)
    update = update.take(range(2), axis)
    starts = np.array([1, past.shape[axis] - (1 if mode == "circular" else 2)], np.int64)
    expected = np.moveaxis(past.copy(), axis, 1)
    for item, start in enumerate(starts if given else [0, 0]):
        rows = (start + np.arange(2)) % past.shape[axis]
        expected[item, rows] = np.moveaxis(update, axis, 1)[item]
    inputs = [past, update, starts] if given else [past, update]
    attributes = {"mode": mode, "axis": axis}
    check_op("TensorScatter", inputs, 24, attributes=attributes, expected=[np.moveaxis(expected, 1, axis)])
