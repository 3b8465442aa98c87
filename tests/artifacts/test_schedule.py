from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from artifacts.schedule import (
    CacheSlot,
    Decode,
    Draft,
    Engine,
    Generation,
    Host,
    Partitioned,
    Schedule,
    Single,
    Unrolled,
)

GENERATION = Generation(start=1, eos=(2,), pad=0, max_new_tokens=75)
SLOT = CacheSlot(input="past", output="present", axis=2, batch_axis=0, init="empty")
FIXED = CacheSlot(input="past", output="present", axis=None, batch_axis=0, init="zeros")
DRAFT = Draft(step="guess", window="window", count=3)
ADAPTER: TypeAdapter[Schedule] = TypeAdapter(Schedule)


def decode(**changes: Any) -> Decode:
    fields: dict[str, Any] = {
        "encoder": "encoder",
        "step": "step",
        "tokens": "tokens",
        "logits": "logits",
        "state": "recompute",
        "control": Host(),
        "generation": GENERATION,
    }
    return Decode(**{**fields, **changes})


@pytest.mark.parametrize(
    "schedule",
    [
        Single(function="main"),
        decode(),
        decode(state="padded", control=Engine()),
        decode(state="cached", slots=(SLOT,), position="position", control=Unrolled()),
        decode(state="cached", slots=(SLOT,), control=Partitioned(boundaries=(25, 50, 75))),
    ],
)
def test_a_schedule_survives_json(schedule: Schedule) -> None:
    assert ADAPTER.validate_json(ADAPTER.dump_json(schedule)) == schedule


def test_functions_come_in_calling_order() -> None:
    assert Single(function="main").functions == ("main",)
    assert decode(first="first").functions == ("encoder", "first", "step")
    assert decode(encoder=None).functions == ("step",)
    guessing = decode(state="cached", slots=(SLOT,), control=Engine(), choice="choice", draft=DRAFT)
    assert guessing.functions == ("encoder", "step", "guess", "window", "choice")
    assert guessing.decoders == ("step", "guess", "window")
    assert guessing.steps == ("step",)
    assert guessing.choosers == ("window", "step")
    own = guessing.model_copy(update={"draft": Draft(step="step", window="window", count=2)})
    assert own.functions == ("encoder", "step", "window", "choice")


def test_a_shortened_schedule_is_the_beginning_of_the_same_decode() -> None:
    rules = GENERATION.model_copy(update={"forced_first": 1, "forced_last": 2})
    whole = decode(control=Partitioned(boundaries=(25, 50, 75)), generation=rules)
    cut = whole.shortened(30)
    assert cut.control == Partitioned(boundaries=(25, 30))
    assert (cut.generation.max_new_tokens, cut.generation.forced_first, cut.generation.forced_last) == (30, 1, None)
    assert whole.shortened(75) == whole.shortened(80) == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": "cached"}, "0 cache slots"),
        ({"slots": (SLOT,)}, "1 cache slots"),
        ({"control": Partitioned(boundaries=(25, 50))}, "ends at 50, not at max_new_tokens 75"),
        ({"state": "cached", "slots": (SLOT, SLOT)}, "two roles"),
        ({"state": "cached", "slots": (SLOT,), "position": "past"}, "two roles"),
        ({"position": "tokens"}, "two roles"),
        ({"draft": DRAFT}, "no engine goes back"),
        ({"draft": DRAFT, "control": Engine()}, "no engine goes back"),
        ({"draft": DRAFT, "state": "cached", "slots": (SLOT,)}, "no engine goes back"),
        ({"draft": DRAFT, "state": "cached", "slots": (SLOT,), "control": Engine(), "first": "f"}, "no engine goes"),
        ({"draft": DRAFT, "state": "cached", "slots": (FIXED,), "control": Engine()}, "no engine goes back"),
    ],
)
def test_parts_of_a_decode_that_do_not_agree_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        decode(**changes)


@pytest.mark.parametrize("boundaries", [(), (0,), (2, 2), (3, 2)])
def test_boundaries_are_positive_and_ascend(boundaries: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        Partitioned(boundaries=boundaries)


@pytest.mark.parametrize(
    "wrong",
    [
        {"axis": None},
        {"axis": 0},
        {"axis": -1},
        {"batch_axis": -1},
        {"init": "full"},
        {"init": "encoder:"},
    ],
)
def test_a_slot_that_cannot_start_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CacheSlot(**{**SLOT.model_dump(), **wrong})


def test_a_slot_of_fixed_size_starts_as_zeros_or_from_the_encoder() -> None:
    for init in ("zeros", "encoder:state"):
        CacheSlot(input="h", output="h1", axis=None, batch_axis=1, init=init)


@pytest.mark.parametrize("wrong", [{"eos": ()}, {"max_new_tokens": 0}, {"start": -1}, {"pad": None}])
def test_a_generation_needs_its_tokens(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Generation(**{**GENERATION.model_dump(), **wrong})


@pytest.mark.parametrize(
    ("length", "first", "last", "tokens"),
    [
        (3, 4, 5, [4, None, 5]),
        (3, None, 5, [None, None, 5]),
        (3, 4, None, [4, None, None]),
        (1, 4, 5, [5]),
        (1, 4, None, [4]),
        (1, None, 5, [5]),
    ],
)
def test_tokens_are_forced_at_both_ends(
    length: int, first: int | None, last: int | None, tokens: list[int | None]
) -> None:
    rules = GENERATION.model_copy(update={"max_new_tokens": length, "forced_first": first, "forced_last": last})
    assert [rules.forced(position) for position in range(length)] == tokens


def test_tokens_without_a_score_need_no_suppression() -> None:
    assert GENERATION.model_copy(update={"suppressed": (3, 99, 0)}).suppressed_of(99) == [3, 0]
