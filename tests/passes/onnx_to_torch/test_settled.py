from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

from tests.support.onnx_ops import check_model, sample


def test_sizes_computed_in_floating_point_stay_sizes() -> None:
    """ceil(width / 2) * 2 in floats, as exporters write it for patches of an image; a reshape needs the integer."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        patches (float[n, 6, 5] x) => (float y) {
            shape = Shape(x)
            at = Constant<value_ints = [2]>()
            width = Gather(shape, at)
            wide = Cast<to = 1>(width)
            two = Constant<value_floats = [2.0]>()
            half = Div(wide, two)
            up = Ceil(half)
            even = Mul(up, two)
            whole = Cast<to = 7>(even)
            less = Sub(whole, one)
            rest = Constant<value_ints = [-1]>()
            target = Concat<axis = 0>(rest, less)
            flat = Reshape(x, target)
            scale = Constant<value_floats = [1.0, 1.0, 1.0, 1.0, 1.0]>()
            y = LayerNormalization(flat, scale)
        }
    """)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "one"))
    check_model(model, [sample((2, 6, 5))], symbolic=[sample((3, 6, 5))])


def test_axes_that_are_not_in_order_are_left_to_the_converter() -> None:
    """The evaluator inserts those of an attribute one after the other, each into the shape that came before."""
    model = onnx.parser.parse_model("""
        <ir_version: 6, opset_import: ["" : 11]>
        insert (float[n] x) => (float y) {
            scales = Constant<value_floats = [2.0, 3.0]>()
            wide = Unsqueeze<axes = [1, 0]>(scales)
            one = Constant<value_int = 1>()
            second = Gather<axis = 2>(wide, one)
            y = Mul(x, second)
        }
    """)
    data = sample((4,))
    check_model(model, [data], expected=[data[None] * 3])


@pytest.mark.parametrize("most", [3, 5])
def test_a_loop_that_counts_in_floating_point_is_unrolled(most: int) -> None:
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 16]>
        counting (float[n, 2] x) => (float[n, 2] y) {{
            trips = Constant<value_int = {most}>()
            go = Constant<value = bool {{1}}>()
            y = Loop(trips, go, x) <body = step (int64 i, bool c, float[n, 2] state) => (bool on, float[n, 2] next) {{
                at = Cast<to = 1>(i)
                limit = Constant<value_float = 3.0>()
                on = Less(at, limit)
                next = Add(state, at)
            }}>
        }}
    """)
    check_model(model, [sample((2, 2))], symbolic=[sample((3, 2))])


def test_a_scale_that_is_a_quotient_of_sizes_is_fixed() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        enlarge (float[n, 1, 4, 4] x, float[1, 1, 10, 6] like) => (float y) {
            old = Shape(x)
            new = Shape(like)
            at = Constant<value_ints = [2, 3]>()
            old_sizes = Gather(old, at)
            new_sizes = Gather(new, at)
            old_float = Cast<to = 1>(old_sizes)
            new_float = Cast<to = 1>(new_sizes)
            quotients = Div(new_float, old_float)
            ones = Constant<value_floats = [1.0, 1.0]>()
            scales = Concat<axis = 0>(ones, quotients)
            y = Resize<mode = "linear", coordinate_transformation_mode = "asymmetric">(x, , scales)
        }
    """)
    like = sample((1, 1, 10, 6))
    check_model(model, [sample((2, 1, 4, 4)), like], symbolic=[sample((3, 1, 4, 4)), like])
