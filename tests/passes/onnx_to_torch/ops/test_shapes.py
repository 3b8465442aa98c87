from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import SourceError
from tests.support.onnx_ops import FEW, Array, check_model, check_op, run_op, sample

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
INPUT_FORMS = [13, 21, 23, 24, 25]


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


@pytest.mark.parametrize("since", [1, 13, 15, 19, 21, 23, 24, 25])
@FEW
@given(shape=SHAPES, start=st.integers(-6, 6), end=st.none() | st.integers(-6, 6))
def test_shape(since: int, shape: tuple[int, ...], start: int, end: int | None) -> None:
    attributes = {"start": start} | ({} if end is None else {"end": end}) if since >= 15 else {}
    expected = shape[start:end] if attributes else shape
    # The reference clamps a start beyond the rank, as the specification says Python slices do.
    check_op("Shape", [sample(shape)], since, attributes=attributes, expected=[ints(*expected)])


@pytest.mark.parametrize("since", [1, 13, 19, 21, 23, 24, 25])
@FEW
@given(shape=SHAPES)
def test_size(since: int, shape: tuple[int, ...]) -> None:
    expected = np.array(np.prod(shape, dtype=np.int64))
    check_op("Size", [sample(shape, "int32")], since, expected=[expected])


def test_size_follows_the_shape() -> None:
    check_op("Size", [sample((3, 4))], 13, symbolic=[sample((5, 7))])


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("since", [5, 13, 14, 19, 21, 23, 24, 25])
@pytest.mark.parametrize("target", [(4, 6), (2, -1), (-1,), (0, 0, 4), (0, -1), (24, 1, 1)])
def test_reshape(since: int, target: tuple[int, ...], constant: bool) -> None:
    check_op("Reshape", [sample((2, 3, 4)), ints(*target)], since, constants={1} if constant else ())


@pytest.mark.parametrize("since", [14, 19, 21, 23, 24, 25])
def test_reshape_to_nothing_if_zeros_are_allowed(since: int) -> None:
    check_op("Reshape", [sample((0, 3)), ints(3, 0, 2)], since, attributes={"allowzero": 1}, constants={1})
    check_op("Reshape", [sample((0, 3)), ints(0, 3, 1)], since, constants={1})


def test_reshape_to_an_attribute() -> None:
    data = sample((2, 3, 4))
    check_op("Reshape", [data], 1, attributes={"shape": [0, -1]}, expected=[data.reshape(2, 12)])


def test_reshape_to_a_scalar() -> None:
    check_op("Reshape", [sample((1, 1)), ints()], 13, constants={1})


def test_reshape_follows_the_size() -> None:
    inputs, others = [sample((4, 6)), ints(0, 2, -1)], [sample((5, 8)), ints(0, 2, -1)]
    check_op("Reshape", inputs, 14, constants={1}, symbolic=others)


def test_reshape_of_a_constant() -> None:
    check_op("Reshape", [ints(1, 2, 3, 4), ints(2, -1)], 14, constants={0, 1})


@pytest.mark.parametrize("since", [1, 9, 11, 13, 21, 23, 24, 25])
@FEW
@given(shape=SHAPES, data=st.data())
def test_flatten(since: int, shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape) if since >= 11 else 0, len(shape)))
    first = int(np.prod(shape[:axis]))
    expected = sample(shape).reshape(first, int(np.prod(shape[axis:])))
    check_op("Flatten", [sample(shape)], since, attributes={"axis": axis}, expected=[expected])


def test_flatten_follows_the_size() -> None:
    check_op("Flatten", [sample((2, 3, 4))], 13, attributes={"axis": 2}, symbolic=[sample((3, 5, 4))])


@pytest.mark.parametrize("axes", [None, [0], [2], [0, 2]])
def test_squeeze(axes: list[int] | None) -> None:
    data = sample((1, 3, 1, 2))
    expected = [data.squeeze(None if axes is None else tuple(axes))]
    attributes = {} if axes is None else {"axes": axes}
    for since in (1, 11):
        check_op("Squeeze", [data], since, attributes=attributes, expected=expected)
    for since in INPUT_FORMS:
        inputs = [data] if axes is None else [data, ints(*axes)]
        check_op("Squeeze", inputs, since, constants={1}, expected=expected)


def test_squeeze_counts_from_the_end() -> None:
    data = sample((1, 3, 1))
    check_op("Squeeze", [data, ints(-1)], 13, constants={1}, expected=[data[:, :, 0]])
    check_op("Squeeze", [data], 11, attributes={"axes": [-3]}, expected=[data[0]])


def test_squeeze_of_a_size_other_than_1_is_an_error() -> None:
    with pytest.raises(SourceError, match="Squeeze"):
        run_op("Squeeze", [sample((2, 3)), ints(1)], 13, constants={1})


def test_squeeze_leaves_symbols_alone() -> None:
    check_op("Squeeze", [sample((1, 3, 4))], 13, symbolic=[sample((1, 5, 4))])


@pytest.mark.parametrize("axes", [[0], [1, 3], [3, 0], [-1], [0, -2]])
def test_unsqueeze(axes: list[int]) -> None:
    data = sample((2, 3))
    expected = [np.expand_dims(data, tuple(axes))]
    if min(axes) >= 0:
        check_op("Unsqueeze", [data], 1, attributes={"axes": axes}, expected=expected)
    check_op("Unsqueeze", [data], 11, attributes={"axes": axes}, expected=expected)
    for since in INPUT_FORMS:
        check_op("Unsqueeze", [data, ints(*axes)], since, constants={1}, expected=expected)


@pytest.mark.parametrize("since", [11, 13])
def test_constants_are_known_and_equal_the_tensors(since: int) -> None:
    attributes, axes = ({"axes": [0]}, []) if since == 11 else ({}, [ints(0)])
    (wide,) = run_op("Unsqueeze", [ints(7, 8, 9), *axes], since, constants={0, 1}, attributes=attributes)
    np.testing.assert_array_equal(wide, [[7, 8, 9]])
    (narrow,) = run_op("Squeeze", [ints(7), *axes], since, constants={0, 1}, attributes=attributes)
    assert narrow.shape == ()
    assert narrow == 7


def test_a_shape_goes_through_the_graph_as_symbols() -> None:
    """What exporters write for x.view(n, t, 2, -1).transpose(1, 2): no size may be pinned on the way."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        graph (float[n, t, 6] x) => (float[n, 2, t, 3] y) {
            zero = Constant<value = int64 {0}>()
            one = Constant<value = int64 {1}>()
            two = Constant<value = int64[1] {2}>()
            rest = Constant<value = int64[1] {-1}>()
            first = Constant<value = int64[1] {0}>()
            shape = Shape(x)
            n0 = Gather<axis = 0>(shape, zero)
            t0 = Gather<axis = 0>(shape, one)
            n1 = Unsqueeze(n0, first)
            t1 = Unsqueeze(t0, first)
            target = Concat<axis = 0>(n1, t1, two, rest)
            wide = Reshape(x, target)
            y = Transpose<perm = [0, 2, 1, 3]>(wide)
        }
    """)
    check_model(model, [sample((2, 5, 6))], symbolic=[sample((3, 4, 6))])
