"""A cache of one length: every decoder gives the tokens that it gave with one that grows."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import sympy
import torch

from artifacts.checks import Tolerances
from artifacts.errors import PassError
from passes.bound_cache import BoundCache
from passes.contract import PassResult
from passes.decode import greedy
from passes.graph_builder import expression_of, values_of
from passes.program import Program
from passes.tabulate_positions import TabulatePositions
from passes.verification import check_program
from tests.support.decoder_modules import LONGEST, MODULES, converted_decoder, derived, schedule_of, step_of

aten = torch.ops.aten

each_decoder = pytest.mark.parametrize("name", MODULES)
SOME = ("relative", "padding mask", "rotary", "gru that looks back")
some_decoders = pytest.mark.parametrize("name", SOME)
each_decoder_in_time = pytest.mark.parametrize(
    # Every position of each takes seconds; the others are left to the long suite.
    "name",
    [name if name in {*SOME, "attention", "sdpa"} else pytest.param(name, marks=pytest.mark.slow) for name in MODULES],
)


@cache
def tabulated(name: str) -> Program:
    return TabulatePositions()(derived(name)).program


@cache
def bounded(name: str) -> PassResult:
    return BoundCache()(tabulated(name))


@each_decoder_in_time
def test_every_position_gets_the_scores_that_it_had(name: str) -> None:
    checks = check_program(bounded(name).program, Tolerances())
    assert [check for check in checks if not check.comparison.passed] == []


@some_decoders
def test_it_decodes_the_same_tokens_to_the_last_position(name: str) -> None:
    sample = converted_decoder(name).models["decoder"].samples[0]
    expected, actual = (
        greedy(p, schedule_of(p), sample.inputs, 2, LONGEST) for p in (tabulated(name), bounded(name).program)
    )
    assert actual["tokens"].tolist() == expected["tokens"].tolist()


@some_decoders
def test_masks_and_positions_that_are_computed_are_computed_from_the_position(name: str) -> None:
    """Without tables there is more that counts the rows of the cache."""
    result = BoundCache()(derived(name))
    checks = check_program(result.program, Tolerances())
    assert [check for check in checks if not check.comparison.passed] == []


@each_decoder
def test_what_goes_from_step_to_step_has_one_shape(name: str) -> None:
    program = bounded(name).program
    schedule, step = schedule_of(program), step_of(program)
    for slot in schedule.slots:
        assert slot.axis is None
        assert step.signature.input(slot.input).shape == step.signature.output(slot.output).shape
    grown = {slot.input for slot in schedule_of(tabulated(name)).slots if slot.axis is not None}
    assert all(LONGEST in step.signature.input(each).shape for each in grown)
    assert not grown or schedule.position is not None


@each_decoder
def test_no_size_of_the_step_counts_rows_any_more(name: str) -> None:
    step = step_of(bounded(name).program)
    allowed = {symbol for symbol, named in step.symbols.items() if named in {"batch", "s"}}
    found: set[sympy.Symbol] = set()
    for node in step.computations:
        for value in values_of(node):
            found |= {s for size in value.shape for s in expression_of(size).free_symbols}
    assert {str(symbol) for symbol in found} <= allowed


def test_rows_are_written_where_they_belong_and_not_appended() -> None:
    step = step_of(bounded("attention").program)
    assert not any(node.target is aten.cat.default for node in step.computations)


def test_a_cache_that_is_not_empty_at_first_is_told() -> None:
    program = tabulated("attention")
    schedule = schedule_of(program)
    slot, *others = schedule.slots
    changed = schedule.model_copy(update={"slots": (slot.model_copy(update={"init": "zeros"}), *others)})
    model = replace(program.models["decoder"], schedule=changed)
    with pytest.raises(PassError, match="its cache is not empty before the first step"):
        BoundCache()(replace(program, models={"decoder": model}))


def test_it_says_what_it_did() -> None:
    assert bounded("attention").notes == ("decoder: slots of 12 rows: 4",)
    assert not bounded("gru").modified
