from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import SourceError
from passes.interpreter import run_function
from tests.support.onnx_ops import FEW, Array, check_model, check_op, compare, run_op, sample
from tests.support.programs import converted

FAR = 2**63 - 1
BOUNDS = st.integers(-9, 9) | st.sampled_from([FAR, -FAR - 1])
STEPS = st.integers(-4, 4).filter(bool)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


@FEW
@given(start=BOUNDS, end=BOUNDS)
def test_bounds_as_attributes(start: int, end: int) -> None:
    data = sample((5, 3))
    attributes = {"starts": [start], "ends": [end]}
    check_op("Slice", [data], 1, attributes=attributes, expected=[data[start:end]])
    attributes = {"starts": [0, start], "ends": [4, end], "axes": [0, 1]}
    check_op("Slice", [data], 1, attributes=attributes, expected=[data[0:4, start:end]])


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("since", [10, 11, 13])
@FEW
@given(start=BOUNDS, end=BOUNDS, axis=st.integers(-2, 1), step=STEPS)
def test_bounds_as_inputs(since: int, constant: bool, start: int, end: int, axis: int, step: int) -> None:
    if since == 10:
        axis %= 2
    inputs = [sample((5, 6)), ints(start), ints(end), ints(axis), ints(step)]
    # For a negative step, an end before the first element is what Python calls None.
    index = slice(start, None if step < 0 and end < -6 else end, step)
    expected = [inputs[0][index] if axis in (0, -2) else inputs[0][:, index]]
    constants = {1, 2, 3, 4} if constant else ()
    check_op("Slice", inputs, since, constants=constants, expected=expected)


def test_axes_and_steps_may_be_absent() -> None:
    data = sample((5, 6))
    check_op("Slice", [data, ints(1, 2), ints(4, -1)], 13, constants={1, 2})
    check_op("Slice", [data, ints(1), ints(FAR), ints(1)], 13, constants={1, 2, 3})


def test_several_steps_at_once() -> None:
    inputs = [sample((5, 6, 7)), ints(-1, 0, 5), ints(-FAR, FAR, 1), ints(0, 1, 2), ints(-2, 3, -1)]
    check_op("Slice", inputs, 13, constants={1, 2, 3, 4})


def test_a_step_of_zero_is_an_error() -> None:
    with pytest.raises(SourceError, match="step"):
        run_op("Slice", [sample((5,)), ints(0), ints(5), ints(0), ints(0)], 13, constants={1, 2, 3, 4})


@pytest.mark.parametrize(
    ("start", "end", "step"), [(1, FAR, 1), (0, -1, 1), (-3, FAR, 1), (1, -2, 2), (-1, -FAR, -1), (-2, 1, -1)]
)
def test_follows_the_size(start: int, end: int, step: int) -> None:
    bounds = [ints(start), ints(end), ints(0), ints(step)]
    inputs: list[Array | None] = [sample((8, 2)), *bounds]
    check_op("Slice", inputs, 13, constants={1, 2, 3, 4}, symbolic=[sample((11, 2)), *bounds])


@pytest.mark.parametrize(
    ("start", "end"),
    [(1, 3), (0, 5), (3, FAR), (4, 2**31 - 1), (-3, FAR), (-5, -1), (1, -3), (-4, 6), (-FAR, 5), (5, 3)],
)
def test_sizes_that_bounds_do_not_reach(start: int, end: int) -> None:
    """What is made of the slice's shape is right for sizes that the bounds go beyond, though the sample's was not."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        graph (float[n, 2] x) => (float[p, q] y)
        <int64[1] start = {{{start}}}, int64[1] end = {{{end}}}>
        {{
            rows = Slice(x, start, end)
            shape = Shape(rows)
            zeros = ConstantOfShape(shape)
            y = Add(rows, zeros)
        }}
    """)
    found = converted(model, {"x": sample((8, 2))})
    for size in (1, 2, 3, 5, 8, 13):
        array = sample((size, 2))
        (result,) = run_function(found.function, found.weights, [torch.tensor(array)])
        compare([result.numpy()], [array[start:end]])


@pytest.mark.parametrize("axis", [0, 1])
def test_follows_bounds_that_are_sizes(axis: int) -> None:
    """`table[:t]`: the end is the size of another tensor."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        graph (float[9, 9] table, float[t] x) => (float[p, q] y) {{
            zero = Constant<value = int64[1] {{0}}>()
            axis = Constant<value = int64[1] {{{axis}}}>()
            end = Shape(x)
            y = Slice(table, zero, end, axis)
        }}
    """)
    table = sample((9, 9))
    check_model(model, [table, sample((4,))], symbolic=[table, sample((7,))])


@FEW
@given(start=BOUNDS, end=BOUNDS, step=STEPS)
def test_constants_are_known_and_equal_the_tensors(start: int, end: int, step: int) -> None:
    inputs: list[Any] = [np.arange(6), ints(start), ints(end), ints(0), ints(step)]
    (known,) = run_op("Slice", inputs, 13, constants={0, 1, 2, 3, 4})
    (tensor,) = run_op("Slice", inputs, 13, constants={1, 2, 3, 4})
    np.testing.assert_array_equal(known, tensor)
