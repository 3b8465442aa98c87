from __future__ import annotations

from dataclasses import replace

import pytest

from artifacts.errors import UsageError
from artifacts.schedule import Decode, Partitioned
from compiler.decode_limit import token_limit, within_limit
from passes.program import Program
from tests.support.decoder_modules import LONGEST, converted_decoder


def with_length(program: Program, longest: int, boundaries: tuple[int, ...] = ()) -> Program:
    (model,) = program.models.values()
    schedule = model.schedule
    assert isinstance(schedule, Decode)
    update = {"generation": schedule.generation.model_copy(update={"max_new_tokens": longest})}
    changed = schedule.model_copy(
        update=update | ({"control": Partitioned(boundaries=boundaries)} if boundaries else {})
    )
    return replace(program, models={"decoder": replace(model, schedule=changed)})


def decode_of(program: Program) -> Decode:
    schedule = program.models["decoder"].schedule
    assert isinstance(schedule, Decode)
    return schedule


def test_a_table_of_positions_is_a_limit_and_a_decoder_without_one_has_none() -> None:
    assert token_limit(converted_decoder("attention").functions["decoder"]) == LONGEST + 1
    assert token_limit(converted_decoder("relative").functions["decoder"]) is None


def test_no_more_tokens_are_generated_than_the_graph_has_room_for() -> None:
    program, notices = within_limit(with_length(converted_decoder("attention"), 100), "decoder", asked=False)
    assert decode_of(program).generation.max_new_tokens == LONGEST + 1
    assert notices == ("generates at most 13 tokens: its graph has room for no more",)


def test_partitions_end_where_the_graph_does() -> None:
    program = with_length(converted_decoder("attention"), 100, (10, 50, 100))
    assert decode_of(within_limit(program, "decoder", asked=False)[0]).control == Partitioned(boundaries=(10, 13))


def test_asking_for_more_is_an_error() -> None:
    with pytest.raises(UsageError, match="asks for 100 tokens, and the graph has room for 13"):
        within_limit(with_length(converted_decoder("attention"), 100), "decoder", asked=True)


@pytest.mark.parametrize(("name", "longest"), [("attention", 13), ("relative", 100)])
def test_what_fits_stays(name: str, longest: int) -> None:
    program = with_length(converted_decoder(name), longest)
    assert within_limit(program, "decoder", asked=True) == (program, ())
