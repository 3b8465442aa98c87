from __future__ import annotations

import numpy as np
import onnx.parser
import pytest

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import Array, check_model, check_op, sample


def check(body: str, arrays: list[Array], outputs: str = "float[n] y", symbolic: list[Array] | None = None) -> None:
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 21]>
        graph (float[n, m] a, float[k, m] b) => ({outputs}) {{
            zero = Constant<value = int64 {{0}}>()
            last = Constant<value = int64 {{-1}}>()
            two = Constant<value = int64 {{2}}>()
            sizes = Constant<value = int64[2] {{1, 2}}>()
            {body}
        }}
    """)
    check_model(model, arrays, symbolic=symbolic)


AB = [sample((3, 4)), sample((2, 4), seed=1)]


def test_items_by_position() -> None:
    check("s = SequenceConstruct(a, b)  y = SequenceAt(s, last)  z = SequenceAt(s, zero)", AB, "float[n] y, float[n] z")


def test_length() -> None:
    check("s = SequenceConstruct(a, b, a)  y = SequenceLength(s)", AB, "int64 y")


@pytest.mark.parametrize("position", ["", ", zero", ", last"])
def test_insert_and_erase(position: str) -> None:
    body = "s = SequenceConstruct(a, a)  t = SequenceInsert(s, b%s)  y = ConcatFromSequence<axis = 0>(t)"
    check(body % position, AB)
    body = "s = SequenceConstruct(a, b, a)  t = SequenceErase(s%s)  y = ConcatFromSequence<axis = 0>(t)"
    check(body % position, AB)


def test_from_nothing() -> None:
    check("s = SequenceEmpty()  t = SequenceInsert(s, a)  y = SequenceAt(t, zero)", AB)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_stacked(axis: int) -> None:
    check(f"s = SequenceConstruct(a, a)  y = ConcatFromSequence<axis = {axis}, new_axis = 1>(s)", AB)


@pytest.mark.parametrize("since", [11, 24])
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_split(since: int, axis: int, keepdims: int) -> None:
    for lengths in ("", ", two", ", sizes"):
        data = sample((3, 3))
        model = onnx.parser.parse_model(f"""
            <ir_version: 11, opset_import: ["": {since}]>
            graph (float[n, m] a) => (float[k] y, int64 count) {{
                zero = Constant<value = int64 {{0}}>()
                two = Constant<value = int64 {{2}}>()
                sizes = Constant<value = int64[2] {{1, 2}}>()
                s = SplitToSequence<axis = {axis}, keepdims = {keepdims}>(a{lengths})
                y = SequenceAt(s, zero)
                count = SequenceLength(s)
            }}
        """)
        check_model(model, [data])


def test_split_of_a_size_that_is_not_fixed_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="not fixed"):
        check("s = SplitToSequence(a)  y = SequenceAt(s, zero)", AB, symbolic=[sample((5, 4)), AB[1]])


def test_items_follow_their_sizes() -> None:
    body = "s = SequenceConstruct(a, b)  y = ConcatFromSequence<axis = 0>(s)"
    check(body, AB, symbolic=[sample((4, 5)), sample((6, 5))])


def test_mapped() -> None:
    check_op("Identity", [np.zeros(2, np.float32)], 21)
    check(
        """
        s = SequenceConstruct(a, b)
        t = SequenceMap <body = each (float[p, q] x) => (float[p, q] r) { r = Add(x, x) }> (s)
        y = SequenceAt(t, last)
        """,
        AB,
    )
