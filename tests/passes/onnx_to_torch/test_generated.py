"""Every operator in every since-version, on nodes drawn from its schema."""

from __future__ import annotations

import onnx.defs
import pytest
from hypothesis import given, settings

from passes.onnx_to_torch.function_bodies import has_function
from passes.onnx_to_torch.registry import Key, builtin, full_name
from tests.support.onnx_ops import FEW
from tests.support.strategies.agreement import check
from tests.support.strategies.node import OUT_OF_USE, Node
from tests.support.strategies.table import nodes, table

REASONS = {("", "Bernoulli"): "draws random numbers"}
"""Supported operators of which no node is drawn, and why."""


def supported() -> set[Key]:
    """Every operator and since-version that has a converter, or a body in its schema."""
    bodies = {
        (schema.domain, schema.name, schema.since_version)
        for schema in onnx.defs.get_all_schemas_with_history()
        if has_function(schema) and not schema.deprecated
    }
    return bodies | set(builtin())


DRAWN = sorted(key for key in supported() if key[:2] in table())


def test_every_supported_operator_is_drawn_or_there_is_a_reason() -> None:
    assert {key[:2] for key in supported()} - set(table()) == set(REASONS)
    assert not set(table()) - {key[:2] for key in supported()}


@pytest.mark.parametrize("key", DRAWN, ids=full_name)
def test_a_drawn_node_gives_what_the_operator_is(key: Key) -> None:
    """Each attribute of the schema has to be drawn too: a new one in a new version fails until it is."""
    drawn: list[Node] = []

    @settings(FEW, max_examples=8)
    @given(nodes(key))
    def agrees(node: Node) -> None:
        drawn.append(node)
        check(node)

    agrees()
    asked = set().union(*(node.asked for node in drawn))
    declared = {name for node in drawn if node.schema for name in node.schema.attributes}
    assert declared <= asked | OUT_OF_USE


@pytest.mark.slow
@pytest.mark.parametrize("key", DRAWN, ids=full_name)
def test_many_drawn_nodes_give_what_the_operator_is(key: Key) -> None:
    @settings(FEW, max_examples=100)
    @given(nodes(key))
    def agrees(node: Node) -> None:
        check(node)

    agrees()
