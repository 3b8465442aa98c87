from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import FEW, Array, check_model, check_op, compare, export, node_model, run, run_op, sample

DTYPES = st.sampled_from(["float32", "float16", "int64", "uint16", "uint32", "uint64", "bool"])


def positions(shape: tuple[int, ...], size: int, seed: int, *, negative: bool = True) -> Array:
    return sample(shape, "int64", seed=seed, low=-size if negative else 0, high=size - 1)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("since", [1, 11, 13])
@FEW
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    wanted=st.lists(st.integers(0, 3), max_size=2).map(tuple),
    data=st.data(),
    dtype=DTYPES,
)
def test_gather(
    since: int, constant: bool, shape: tuple[int, ...], wanted: tuple[int, ...], data: st.DataObject, dtype: str
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    indices = positions(wanted, shape[axis], data.draw(st.integers(0, 9)), negative=since >= 11)
    inputs = [sample(shape, dtype), indices]
    check_op("Gather", inputs, since, attributes={"axis": axis}, constants={1} if constant else ())


def test_gather_takes_int32_indices() -> None:
    check_op("Gather", [sample((5, 3)), np.array([[1, -1]], np.int32)], 13)


def test_rows_of_a_table_are_one_indexing_whatever_their_signs() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        graph (float[9, 4] table, int64[n, t] ids) => (float[n, t, 4] y) { y = Gather(table, ids) }
    """)
    arrays, others = [sample((9, 4)), positions((2, 3), 9, 0)], [sample((9, 4)), positions((4, 5), 9, 1)]
    check_model(model, arrays, symbolic=others)
    targets = [node.target for node in export(Importer(ir.from_proto(model)), arrays, others).graph.nodes]
    assert "aten.index.Tensor" in map(str, targets)
    assert "aten.where.self" not in map(str, targets), "negative indices need no arithmetic"


def test_a_table_of_indices_is_a_weight() -> None:
    """Not one operator for each of its elements."""
    order = np.random.default_rng(0).permutation(64)
    importer = Importer(ir.from_proto(node_model("Gather", [sample((64, 3)), order], 13, constants={1})))
    program = export(importer, [sample((64, 3))], [sample((64, 3))])
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert calls == ["aten.embedding.default"]
    compare(run(program.module(), [sample((64, 3))]), [sample((64, 3))[order]])


@pytest.mark.parametrize("axis", [1, 2])
def test_gather_follows_the_sizes(axis: int) -> None:
    inputs = [sample((3, 5, 4)), positions((2, 3), 4, 0)]
    others = [sample((6, 7, 4) if axis == 2 else (6, 5, 4)), positions((4, 2), 4, 1)]
    check_op("Gather", inputs, 13, attributes={"axis": axis}, symbolic=others)


def test_the_last_position_follows_the_size() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        graph (float[n, t, 4] x) => (float[n, 4] y, float[n, 4] z) {
            last = Constant<value = int64 {-1}>()
            one = Constant<value = int64 {1}>()
            shape = Shape(x)
            t0 = Gather(shape, one)
            end = Sub(t0, one)
            y = Gather<axis = 1>(x, last)
            z = Gather<axis = 1>(x, end)
        }
    """)
    check_model(model, [sample((2, 5, 4))], symbolic=[sample((3, 7, 4))])


def test_constants_are_known_and_equal_the_tensors() -> None:
    data = np.array([5, 6, 7], np.int64)
    for indices in (np.array(-1), np.array([0, 2, -2]), np.array([[1], [0]])):
        (known,) = run_op("Gather", [data, indices], 13, constants={0, 1})
        np.testing.assert_array_equal(known, data[indices])


@pytest.mark.parametrize("since", [11, 13])
@FEW
@given(axis=st.integers(-2, 1), seed=st.integers(0, 99), dtype=DTYPES)
def test_gather_elements(since: int, axis: int, seed: int, dtype: str) -> None:
    data = sample((4, 5), dtype)
    indices = positions((3, 5) if axis in (0, -2) else (4, 2), data.shape[axis], seed)
    expected = [np.take_along_axis(data, indices, axis)]
    check_op("GatherElements", [data, indices], since, attributes={"axis": axis}, expected=expected)


def test_gather_elements_may_leave_out_the_end_of_other_axes() -> None:
    data, indices = sample((4, 5)), positions((2, 3), 5, 0)
    expected = [np.take_along_axis(data[:2], indices, 1)]
    check_op("GatherElements", [data, indices], 13, attributes={"axis": 1}, expected=expected)


@pytest.mark.parametrize("since", [11, 12, 13])
@pytest.mark.parametrize("batch_dims", [0, 1, 2])
@pytest.mark.parametrize("depth", [1, 2])
def test_gather_nd(since: int, batch_dims: int, depth: int) -> None:
    if since == 11 and batch_dims:
        return
    data = sample((2, 3, 4, 5))
    sizes = data.shape[batch_dims : batch_dims + depth]
    lead = (*data.shape[:batch_dims], 3)
    indices = np.stack([positions(lead, size, i) for i, size in enumerate(sizes)], -1)
    attributes = {"batch_dims": batch_dims} if since > 11 else {}
    grid = np.ix_(*map(np.arange, data.shape[:batch_dims]), np.zeros(1, np.int64))[:-1] if batch_dims else ()
    expected = [data[(*(axis.reshape(axis.shape) for axis in grid), *np.moveaxis(indices, -1, 0))]]
    check_op("GatherND", [data, indices], since, attributes=attributes, expected=expected)


def test_gather_nd_follows_the_sizes() -> None:
    inputs = [sample((3, 4)), np.array([[1, 2], [-1, 0]], np.int64)]
    check_op("GatherND", inputs, 13, symbolic=[sample((5, 6)), np.array([[4, -6]] * 3, np.int64)])


@pytest.mark.parametrize("since", [10, 28])
@pytest.mark.parametrize("time_axis", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint16"])
def test_reverse_sequence(since: int, time_axis: int, dtype: str) -> None:
    attributes = {"time_axis": time_axis, "batch_axis": 1 - time_axis}
    shape = (4, 3, 2) if time_axis == 0 else (3, 4, 2)
    lengths = np.array([0, 4, 3], np.int64)
    data = sample(shape, dtype)
    rows = np.moveaxis(data, time_axis, 1)
    expected = np.stack([np.concatenate([r[:n][::-1], r[n:]]) for r, n in zip(rows, lengths, strict=True)])
    check_op(
        "ReverseSequence",
        [data, lengths],
        since,
        attributes=attributes,
        expected=[np.moveaxis(expected, 1, time_axis)],
    )


def test_reverse_sequence_follows_the_sizes() -> None:
    inputs = [sample((4, 3, 2)), np.array([4, 2, 3], np.int64)]
    check_op("ReverseSequence", inputs, 10, symbolic=[sample((6, 5, 2)), np.array([6, 0, 1, 2, 5], np.int64)])
