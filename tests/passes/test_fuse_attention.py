from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from artifacts.checks import Tolerances
from passes.bodies import copied_graph, edited
from passes.contract import PassResult
from passes.dialect import CACHED_ATTENTION
from passes.fuse_attention import FuseAttention
from passes.program import Function, Program
from passes.tabulate_positions import TabulatePositions
from passes.verification import check_program
from tests.passes.test_tabulate_positions import tabulated
from tests.support.decoder_modules import MODULES, derived, step_of

aten = torch.ops.aten


@cache
def fused(name: str) -> PassResult:
    return FuseAttention()(tabulated(name).program)


def attentions(program: Program) -> list[torch.fx.Node]:
    return [node for node in step_of(program).computations if node.target is CACHED_ATTENTION]


@pytest.mark.parametrize("name", MODULES)
def test_every_position_gets_the_scores_that_it_had(name: str) -> None:
    checks = check_program(fused(name).program, Tolerances())
    assert [check for check in checks if not check.comparison.passed] == []


FUSED = {"attention": 2, "every other": 2, "thinned": 2, "rotary": 2, "range mask": 2, "padding mask": 2, "relative": 2}
"""How many of the decoders' attentions over their own tokens are fused; none of the others."""


@pytest.mark.parametrize("name", MODULES)
def test_attention_over_what_is_kept_is_one_operation(name: str) -> None:
    assert len(attentions(fused(name).program)) == FUSED.get(name, 0)


def test_heads_are_neither_taken_apart_nor_put_together_around_it() -> None:
    step = step_of(fused("attention").program)
    for node in attentions(fused("attention").program):
        assert all(operand.target is aten.linear.default for operand in node.args[:3])  # type: ignore[union-attr]  # nodes
        out = next(user for user in node.users if user.args[1] == 0)
        assert [user.target for user in out.users] == [aten.linear.default]
    assert not any(node.target is aten.cat.default for node in step.computations)


def test_a_mask_that_was_not_taken_away_is_the_bias() -> None:
    program = FuseAttention()(derived("attention")).program
    assert len(attentions(program)) == 2
    assert all(node.args[5] is not None for node in attentions(program))
    assert all(check.comparison.passed for check in check_program(program, Tolerances()))


def scale_of(function: Function) -> set[object]:
    return {node.args[6] for node in function.computations if node.target is CACHED_ATTENTION}


def test_a_scale_of_the_scores_is_the_operation_s() -> None:
    assert scale_of(step_of(fused("attention").program)) == {0.5}


def _divided_by_nothing() -> Program:
    """The decoder whose scores are divided by 0."""
    program = tabulated("attention").program
    step = step_of(program)
    graph, _ = copied_graph(step.body)
    for node in graph.nodes:
        if node.target is aten.div.Tensor:
            node.args = (node.args[0], 0.0)
    return program.with_functions({step.name: replace(step, body=edited(step.body, graph))})


def test_a_division_by_zero_is_no_scale() -> None:
    assert attentions(FuseAttention()(_divided_by_nothing()).program) == []


def test_it_leaves_no_weight_that_nobody_uses() -> None:
    step = step_of(fused("attention").program)
    assert all(node.users for node in step.weight_nodes)


def test_it_says_how_many() -> None:
    assert fused("attention").notes == ("decoder.step: attentions fused: 2",)
    assert FuseAttention()(TabulatePositions()(derived("gru")).program).notes == ()
