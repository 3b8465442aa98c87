from __future__ import annotations

import itertools

import numpy as np
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, Array, check_model, check_op, run_op, sample

DTYPES = ["float32", "float16", "int64", "uint16", "uint32", "bool"]


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


@pytest.mark.parametrize("since", [1, 13, 14, 16, 19, 21, 23, 24, 25])
def test_identity(since: int) -> None:
    check_op("Identity", [sample((3, 4))], since)


@pytest.mark.parametrize("since", [1, 13, 21, 23, 24, 25])
@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose(since: int, dtype: str) -> None:
    data = sample((2, 3, 4), dtype)
    check_op("Transpose", [data], since, expected=[data.transpose()])
    for order in itertools.permutations(range(3)):
        check_op("Transpose", [data], since, attributes={"perm": order}, expected=[data.transpose(order)])


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("since", [8, 13])
@pytest.mark.parametrize("shape", [(3, 1), (3, 4), (1,), (2, 3, 4), (2, 1, 1, 4), (1, 1)])
def test_expand(since: int, shape: tuple[int, ...], constant: bool) -> None:
    check_op("Expand", [sample((3, 1)), ints(*shape)], since, constants={1} if constant else ())
    check_op("Expand", [sample(()), ints(*shape)], since, constants={1} if constant else ())


def test_expand_pins_no_size() -> None:
    """What masks are made with: both broadcast, to the sizes of another tensor."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        graph (float[n, t] x, float[n, 1, t] mask) => (float[n, k, t] y, float[n, t] same) {
            one = Constant<value = int64[1] {1}>()
            shape = Shape(x)
            n, t = Split<axis = 0>(shape)
            target = Concat<axis = 0>(n, t, one)
            turned = Transpose<perm = [0, 2, 1]>(mask)
            wide = Concat<axis = 0>(n, one, t)
            y = Expand(mask, wide)
            same = Expand(x, shape)
            unused = Expand(turned, target)
        }
    """)
    arrays = [sample((2, 5)), sample((2, 1, 5))]
    check_model(model, arrays, symbolic=[sample((3, 4)), sample((3, 1, 4))])


@pytest.mark.parametrize("since", [6, 13])
@pytest.mark.parametrize("dtype", DTYPES)
@FEW
@given(repeats=st.lists(st.integers(0, 3), min_size=2, max_size=2))
def test_tile(since: int, dtype: str, repeats: list[int]) -> None:
    check_op("Tile", [sample((2, 3), dtype), ints(*repeats)], since, constants={1})


@pytest.mark.parametrize("constants", [{1, 2}, set[int]()])
def test_version_1_tiles_one_axis(constants: set[int]) -> None:
    data = sample((2, 3))
    inputs = [data, np.array([2], np.float32), np.array([1], np.float32)]
    check_op("Tile", inputs, 1, constants=constants, expected=[np.tile(data, (1, 2))])


def test_tile_follows_the_size() -> None:
    check_op("Tile", [sample((2, 3)), ints(2, 1)], 13, constants={1}, symbolic=[sample((5, 3)), ints(2, 1)])


@pytest.mark.parametrize("since", [1, 11, 13, 28])
@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(since: int, mode: str) -> None:
    attributes = {"blocksize": 2} | ({"mode": mode} if since > 1 else {})
    check_op("DepthToSpace", [sample((2, 12, 3, 4))], since, attributes=attributes)


@pytest.mark.parametrize("since", [1, 13, 28])
@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_space_to_depth_undoes_depth_to_space(since: int, mode: str) -> None:
    if mode == "CRD" and since < 28:
        return
    data = sample((2, 12, 3, 4))
    (spread,) = run_op("DepthToSpace", [data], 13, attributes={"blocksize": 2, "mode": mode})
    attributes = {"blocksize": 2} | ({"mode": mode} if since == 28 else {})
    check_op("SpaceToDepth", [spread], since, attributes=attributes, expected=[data])


def test_blocks_follow_the_size() -> None:
    for op_type, sizes, others in [
        ("DepthToSpace", (2, 4, 3, 4), (3, 4, 5, 6)),
        ("SpaceToDepth", (2, 3, 4, 6), (3, 3, 8, 4)),
    ]:
        check_op(op_type, [sample(sizes)], 13, attributes={"blocksize": 2}, symbolic=[sample(others)])


def test_constants_are_known_and_equal_the_tensors() -> None:
    data = ints(1, 2, 3)
    (wide,) = run_op("Expand", [data, ints(2, 3)], 13, constants={0, 1})
    np.testing.assert_array_equal(wide, [[1, 2, 3], [1, 2, 3]])
    (tiled,) = run_op("Tile", [data, ints(2)], 13, constants={0, 1})
    np.testing.assert_array_equal(tiled, [1, 2, 3, 1, 2, 3])
    (same,) = run_op("Transpose", [data], 13, constants={0})
    np.testing.assert_array_equal(same, data)
    (large,) = run_op("Expand", [ints(5), ints(2000)], 13, constants={0, 1})
    np.testing.assert_array_equal(large, np.full(2000, 5))
