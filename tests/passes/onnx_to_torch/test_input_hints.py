from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from passes.onnx_to_torch.input_hints import InputHint, input_hint
from tests.support.programs import normal, parsed


def hint_of(nodes: str, inputs: str = "int64[b, t] ids", name: str = "ids") -> InputHint:
    tables = {"table": normal(11, 4), "small": normal(7, 4), "wide": normal(4, 5)}
    constants = {"two": np.array(2), "pair": np.array([1, 2])}
    model = parsed(f"g ({inputs}) => (float[m] y) {{ {nodes} }}", **tables, **constants)
    (value,) = (value for value in ir.from_proto(model).graph.inputs if value.name == name)
    return input_hint(value)


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Gather (table, ids)",
        "a = Cast <to = 6> (ids) y = Gather (table, a)",
        "a = Reshape (ids, pair) b = Unsqueeze (a, pair) c = Identity (b) y = Gather (table, c)",
        "a = Slice (ids, pair, pair) y = Gather (table, a)",
        "a = Concat <axis = 0> (pair, ids) y = Gather (table, a)",
        "c = Equal (pair, pair) a = Where (c, pair, ids) y = Gather (table, a)",
        "a = Expand (ids, pair) y = Gather (table, a)",
        "t = Identity (table) y = Gather (t, ids)",
        "a = Gather (table, ids) b = Gather (small, pair) y = Add (a, b)",
    ],
)
def test_an_input_is_followed_to_the_table_that_it_indexes(nodes: str) -> None:
    assert hint_of(nodes) == InputHint(table=11)


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Relu (ids)",
        "y = Gather (ids, pair)",
        "a = Reshape (table, ids) y = Gather (small, a)",
        "a = Expand (pair, ids) y = Gather (table, a)",
        "a = Where (ids, pair, pair) y = Gather (table, a)",
        "a = Add (ids, pair) y = Gather (table, a)",
        "y = Gather (other, ids)",
    ],
)
def test_what_an_input_only_shapes_or_selects_says_nothing_of_it(nodes: str) -> None:
    assert hint_of(nodes, "int64[b, t] ids, float[r, c] other") == InputHint()


def test_of_several_tables_the_smallest_counts() -> None:
    assert hint_of("a = Gather (table, ids) b = Gather (small, ids) y = Add (a, b)").table == 7


@pytest.mark.parametrize(("axis", "rows"), [(0, 4), (1, 5), (-1, 5), (-2, 4)])
def test_a_table_may_be_indexed_on_any_axis(axis: int, rows: int) -> None:
    assert hint_of(f"y = Gather <axis = {axis}> (wide, ids)").table == rows


def test_an_axis_that_is_not_there_says_nothing() -> None:
    assert hint_of("y = Gather <axis = 2> (wide, ids)").table is None


def test_a_table_that_is_an_input_of_fixed_size_counts_too() -> None:
    assert hint_of("y = Gather (other, ids)", "int64[b] ids, float[9, c] other").table == 9


def test_constants_that_an_input_is_compared_with() -> None:
    nodes = "three = Constant <value_int = 3> () a = Equal (ids, two) b = Equal (three, ids) y = And (a, b)"
    assert hint_of(nodes).equals == (2, 3)


def test_a_comparison_with_a_tensor_says_nothing() -> None:
    assert hint_of("y = Equal (ids, pair)") == InputHint()


LOOP = """
    a = Squeeze (ids)
    y = Loop (a, , other) <body = step (int64 i, bool on, float[c] x) => (bool more, float[c] z) {
        more = Identity (on)
        z = Neg (x)
    }>
"""


@pytest.mark.parametrize(("name", "counts"), [("ids", True), ("other", False)])
def test_an_input_is_followed_to_the_loop_that_it_counts(name: str, counts: bool) -> None:
    assert hint_of(LOOP, "int64[1] ids, float[c] other", name).counts is counts


def test_another_input_has_a_hint_of_its_own() -> None:
    nodes = "a = Gather (table, ids) b = Gather (small, mask) y = Add (a, b)"
    inputs = "int64[b] ids, int64[b] mask"
    assert (hint_of(nodes, inputs).table, hint_of(nodes, inputs, "mask").table) == (11, 7)
