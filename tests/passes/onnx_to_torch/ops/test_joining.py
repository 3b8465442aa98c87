from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import FEW, check_model, check_op, compare, run, run_op, sample

DTYPES = st.sampled_from(["float32", "float16", "int64", "uint16", "bool"])


@pytest.mark.parametrize("since", [4, 11, 13])
@FEW
@given(sizes=st.lists(st.integers(0, 3), min_size=1, max_size=4), axis=st.integers(-3, 2), dtype=DTYPES)
def test_concat(since: int, sizes: list[int], axis: int, dtype: str) -> None:
    if since < 11:
        axis %= 3
    shapes = [[size if i == axis % 3 else 2 for i in range(3)] for size in sizes]
    parts = [sample(shape, dtype, seed=seed) for seed, shape in enumerate(shapes)]
    check_op("Concat", parts, since, attributes={"axis": axis})


def test_version_1_concatenates_channels_unless_told() -> None:
    parts = [sample((2, 3)), sample((2, 1))]
    check_op("Concat", parts, 1, expected=[np.concatenate(parts, 1)])
    check_op("Concat", [parts[0], parts[0]], 1, attributes={"axis": 0}, expected=[np.concatenate([parts[0]] * 2)])


def test_concat_follows_the_sizes() -> None:
    others = [sample((5, 3)), sample((6, 3))]
    check_op("Concat", [sample((2, 3)), sample((4, 3))], 13, attributes={"axis": 0}, symbolic=others)


@pytest.mark.parametrize("since", [2, 11, 13, 18])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_split_into_equal_parts(since: int, axis: int) -> None:
    attributes = {"axis": axis} | ({"num_outputs": 3} if since == 18 else {})
    data = sample((6, 3, 9))
    check_op("Split", [data], since, attributes=attributes, outputs=3, expected=np.split(data, 3, axis))


@pytest.mark.parametrize("since", [2, 11, 13, 18])
def test_split_by_sizes(since: int) -> None:
    data, sizes = sample((4, 7)), [2, 0, 5]
    expected = np.split(data, [2, 2], 1)
    if since < 13:
        attributes = {"axis": 1, "split": sizes}
        check_op("Split", [data], since, attributes=attributes, outputs=3, expected=expected)
    else:
        inputs = [data, np.array(sizes, np.int64)]
        for constants in ({1}, set[int]()):
            check_op("Split", inputs, since, attributes={"axis": 1}, outputs=3, constants=constants, expected=expected)


def test_version_1_takes_sizes_in_either_form() -> None:
    data = sample((4, 3))
    expected = [data[:1], data[1:]]
    check_op("Split", [data], 1, attributes={"split": [1, 3]}, outputs=2, expected=expected)
    check_op("Split", [data, np.array([1, 3], np.float32)], 1, outputs=2, constants={1}, expected=expected)
    check_op("Split", [data], 1, outputs=2, expected=[data[:2], data[2:]])


def test_the_last_part_may_be_smaller() -> None:
    check_op("Split", [sample((2, 7))], 18, attributes={"axis": 1, "num_outputs": 3}, outputs=3)


def test_a_part_that_nobody_reads_still_counts() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 13]>
        graph (float[6] x) => (float[2] y) { a, y, c = Split(x) }
    """)
    data = sample((6,))
    compare(run(Importer(ir.from_proto(model)), [data]), [data[2:4]])


def test_split_follows_the_size() -> None:
    attributes = {"axis": 1, "num_outputs": 2}
    check_op("Split", [sample((3, 8))], 18, attributes=attributes, outputs=2, symbolic=[sample((5, 10))])


def test_constants_are_known_and_equal_the_tensors() -> None:
    data = np.arange(5, dtype=np.int64)
    first, rest = run_op("Split", [data, np.array([2, 3], np.int64)], 13, outputs=2, constants={0, 1})
    np.testing.assert_array_equal(first, [0, 1])
    np.testing.assert_array_equal(rest, [2, 3, 4])
    halves = run_op("Split", [data[:4]], 11, outputs=2, constants={0})
    np.testing.assert_array_equal(halves, [[0, 1], [2, 3]])
    (joined,) = run_op("Concat", [data, data], 13, attributes={"axis": 0}, constants={0, 1})
    np.testing.assert_array_equal(joined, [*range(5), *range(5)])


def test_a_split_shape_stays_symbolic() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 18]>
        graph (float[n, m] x) => (float[m, n] y) {
            shape = Shape(x)
            n0, m0 = Split<num_outputs = 2>(shape)
            target = Concat<axis = 0>(m0, n0)
            y = Reshape(x, target)
        }
    """)
    check_model(model, [sample((3, 4))], symbolic=[sample((5, 2))])
