from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
import torch

from artifacts.checks import Tolerances
from passes.contract import PassResult
from passes.decode import greedy
from passes.eliminate_dead_code import EliminateDeadCode
from passes.tabulate_positions import TabulatePositions
from passes.verification import check_program
from tests.support.decoder_modules import LONGEST, MODULES, converted_decoder, derived, schedule_of, step_of

aten = torch.ops.aten

each_decoder = pytest.mark.parametrize("name", MODULES)

POSITIONS = {
    aten.arange.start_step,
    aten.full.default,
    aten.le.Tensor,
    aten.where.self,
    aten.triu.default,
    aten.cos.default,
}
"""Operators that the decoders compute masks and positions with."""


@cache
def tabulated(name: str) -> PassResult:
    return TabulatePositions()(derived(name))


def operators(name: str) -> Counter[object]:
    return Counter(node.target for node in step_of(tabulated(name).program).computations)


@each_decoder
def test_every_position_gets_the_scores_that_it_had(name: str) -> None:
    checks = check_program(tabulated(name).program, Tolerances())
    assert [check for check in checks if not check.comparison.passed] == []


@each_decoder
def test_it_decodes_the_same_tokens_to_the_last_position(name: str) -> None:
    sample = converted_decoder(name).models["decoder"].samples[0]
    expected, actual = (
        greedy(p, schedule_of(p), sample.inputs, 2, LONGEST) for p in (derived(name), tabulated(name).program)
    )
    assert actual["tokens"].tolist() == expected["tokens"].tolist()


@pytest.mark.parametrize("name", ["attention", "range mask", "packed", "keys first", "grouped", "repeated", "sdpa"])
def test_a_causal_mask_hides_nothing_from_the_last_token_and_goes(name: str) -> None:
    assert not operators(name).keys() & POSITIONS


def test_a_position_is_a_row_of_the_source_s_own_table() -> None:
    before, after = step_of(derived("attention")), step_of(tabulated("attention").program)
    contents = {ref.digest for ref in before.weights.values()}
    assert {ref.digest for ref in after.weights.values()} <= contents
    assert operators("attention")[aten.slice.Tensor] == 0


def test_a_bias_by_distance_is_a_part_of_the_longest_one() -> None:
    step = step_of(tabulated("relative").program)
    (table,) = (ref for name, ref in step.weights.items() if name.endswith("_by_position"))
    assert table.shape[-1] == LONGEST
    assert operators("relative")[aten.clamp.default] == 0


def test_rotations_are_rows_of_tables() -> None:
    assert not operators("rotary").keys() & POSITIONS


def test_what_depends_on_tokens_stays() -> None:
    """A mask of padding is made of the tokens that there were."""
    assert operators("padding mask")[aten.where.Scalar] == 1


@each_decoder
def test_it_leaves_nothing_that_nobody_uses(name: str) -> None:
    assert not EliminateDeadCode()(tabulated(name).program).modified


def test_a_table_beyond_the_limit_is_computed_at_every_step() -> None:
    result = TabulatePositions(limit=0)(derived("relative"))
    assert not any(name.endswith("_by_position") for name in step_of(result.program).weights)
    assert all(check.comparison.passed for check in check_program(result.program, Tolerances()))


def test_it_says_what_it_did() -> None:
    assert tabulated("attention").notes == ("decoder: tables: 1, operations without effect: 2",)
