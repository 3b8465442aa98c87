"""What golden texts do not show of keys that an encoder gives: what becomes of them, in decoders of every form."""

from __future__ import annotations

from functools import cache

import pytest

from artifacts.checks import Tolerances
from passes.contract import PassResult
from passes.decode_cost import decode_costs
from passes.dialect import ATTENTION
from passes.fuse_attention import FuseAttention
from passes.program import Program
from passes.turn_memory import TurnMemory
from passes.verification import check_program
from tests.passes.test_tabulate_positions import tabulated
from tests.support.decoder_modules import step_of


@cache
def turned(name: str) -> PassResult:
    return TurnMemory()(tabulated(name).program)


def attentions(program: Program) -> int:
    return sum(node.target is ATTENTION for node in step_of(program).computations)


@pytest.mark.parametrize("name", ["attention", "relative", "padding mask", "gru"])
def test_every_position_gets_the_scores_that_it_had(name: str) -> None:
    program = FuseAttention()(turned(name).program).program
    assert [check for check in check_program(program, Tolerances()) if not check.comparison.passed] == []


def test_attention_over_the_encoder_s_memory_is_one_operation_then() -> None:
    assert attentions(FuseAttention()(tabulated("attention").program).program) == 0
    assert attentions(FuseAttention()(turned("attention").program).program) == 1


def test_keys_and_values_are_given_alike() -> None:
    shapes = {spec.shape for spec in step_of(turned("attention").program).signature.inputs if "memory" in spec.name}
    assert len(shapes) == 1
    assert turned("attention").notes == ("decoder: keys of the encoder turned: 1",)


def test_one_operation_costs_what_its_products_did() -> None:
    ((before,), (after,)) = (
        decode_costs(FuseAttention()(result.program).program)
        for result in (tabulated("attention"), turned("attention"))
    )
    assert before.steps.flops == after.steps.flops > 0
