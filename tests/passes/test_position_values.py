from __future__ import annotations

from collections.abc import Callable

import pytest
import sympy
import torch
from torch import Tensor
from torch.fx import Node

from artifacts.weights import WeightStore
from passes.graph_builder import GraphBuilder, expression_of
from passes.position_values import Constant, PositionValue, Table, Uniform, position_values
from tests.support.programs import traced

COUNT = 6

Build = Callable[[GraphBuilder, Node, Node], Node]
"""Makes a node of a builder, the past [rows, past] and the position."""

aten = torch.ops.aten


def value_of(build: Build) -> PositionValue | None:
    """What is known of a node of a step that takes past [rows, past]."""
    function = next(iter(traced(lambda x: x + 1, torch.ones(3, 4)).functions.values()))
    builder = GraphBuilder(function)
    past, rows = builder.symbol("past"), builder.symbol("rows")
    given = builder.placeholder(function.input_nodes[0].name, builder.empty((rows, past), torch.float32))
    position = builder.size(expression_of(past))
    assert isinstance(position, Node)
    node = build(builder, given, position)
    made = builder.function(function, "step", function.signature, [node])
    symbol = expression_of(past)
    assert isinstance(symbol, sympy.Symbol)
    values = position_values(made, WeightStore(), symbol, COUNT)
    return values.get(made.results[0])  # type: ignore[arg-type]  # results of a function are nodes


def tables(build: Build) -> list[Tensor]:
    found = value_of(build)
    assert isinstance(found, Table)
    return list(found.rows)


def ranged(builder: GraphBuilder, _: Node, position: Node) -> Node:
    return builder.call(aten.arange.start_step, 0, position)


def test_a_range_to_the_position_is_known() -> None:
    assert [row.tolist() for row in tables(ranged)] == [list(range(position)) for position in range(COUNT)]


def test_what_is_the_same_everywhere_is_one_number() -> None:
    found = value_of(lambda b, past, position: b.call(aten.ge.Scalar, ranged(b, past, position), 0))
    assert found == Uniform(True)


def filled(builder: GraphBuilder, past: Node, position: Node) -> Node:
    """One number, in sizes that only a request knows."""
    rows = builder.call(aten.sym_size.int, past, 0)
    return builder.call(aten.full.default, [rows, position], 1.0)


@pytest.mark.parametrize(
    "build",
    [
        filled,
        lambda b, past, p: b.call(aten.unsqueeze.default, filled(b, past, p), 1),
        lambda b, past, p: b.call(aten.to.dtype, filled(b, past, p), torch.float32),
        lambda b, past, p: b.call(aten.mul.Tensor, filled(b, past, p), filled(b, past, p)),
        lambda b, past, _: b.call(aten.zeros_like.default, past),
    ],
)
def test_one_number_is_followed_through_sizes_that_only_a_request_knows(build: Build) -> None:
    found = value_of(build)
    assert isinstance(found, Uniform)
    assert found.number in (0, 1)


def test_one_number_broadcasts_into_what_is_known() -> None:
    def build(builder: GraphBuilder, past: Node, position: Node) -> Node:
        return builder.call(aten.add.Tensor, filled(builder, past, position), ranged(builder, past, position))

    assert [row.tolist() for row in tables(build)] == [
        [[p + 1.0 for p in range(position)]] for position in range(COUNT)
    ]


def test_a_matrix_of_all_positions_is_computed_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("passes.position_values.MOST_KEPT", 10)

    def build(builder: GraphBuilder, _: Node, position: Node) -> Node:
        square = builder.call(aten.full.default, [position, position], 1.0)
        return builder.call(aten.triu.default, square, 1)

    for position, row in enumerate(tables(build)):
        assert torch.equal(row, torch.ones(position, position).triu(1))


@pytest.mark.parametrize(
    "build",
    [
        lambda b, past, _: b.call(aten.relu.default, past),
        lambda b, past, p: b.call(aten.full.default, [b.call(aten.sym_size.int, past, 0)], p),
        lambda b, past, _: b.call(aten.arange.default, b.call(aten.sym_size.int, past, 0)),
        lambda b, past, p: b.call(aten.cumsum.default, filled(b, past, p), 0),
        lambda b, past, p: b.call(aten.rand_like.default, filled(b, past, p)),
    ],
)
def test_what_something_else_decides_is_not_known(build: Build) -> None:
    assert value_of(build) is None


def test_a_weight_is_known() -> None:
    program = traced(lambda x: x + torch.arange(4.0), torch.ones(3, 4))
    function = next(iter(program.functions.values()))
    values = position_values(function, program.weights, sympy.Symbol("past"), COUNT)
    assert all(isinstance(values[node], Constant) for node in function.weight_nodes)
