from __future__ import annotations

from artifacts.manifest import ModelEntry
from artifacts.schedule import Beams, Decode, Draft, Engine, Generation, Partitioned, Single
from artifacts.spec import Signature
from compiler.inspect_schedule import schedule_rows
from tests.support.decoders import decoder

NOTHING = Signature(inputs=(), outputs=())


def test_a_decode_in_partitions() -> None:
    rules = Generation(
        start=1,
        eos=(2, 5),
        pad=0,
        max_new_tokens=9,
        forced_first=7,
        suppressed=(3, 4),
        beams=Beams(width=4, length_penalty=0.6, early_stopping=True),
    )
    growing = decoder("growing", rules).schedule
    assert isinstance(growing, Decode)
    schedule = growing.model_copy(update={"control": Partitioned(boundaries=(3, 6, 9))})
    functions = {"encoder": ("enc",), "step": ("until-3", "until-6", "until-6")}
    entry = ModelEntry(source="0" * 64, signature=NOTHING, schedule=schedule, functions=functions)
    assert list(schedule_rows(entry)) == [
        ["schedule", "decode", ""],
        ["decode", "cached, loop by partitioned, ends at 3, 6, 9", "tokens -> logits"],
        ["tokens", "start 1, end [2, 5], pad 0", "at most 9"],
        ["forced", "first token 7", ""],
        ["beams", "4", "length penalty 0.6, early stopping true"],
        ["suppressed", "3, 4", ""],
        ["slot", "present -> past", "empty, axis 1"],
        ["calls", "encoder", "in enc"],
        ["calls", "step", "in until-3, until-6 (2 times)"],
    ]


def test_a_model_that_is_called_once() -> None:
    entry = ModelEntry(
        source="0" * 64, signature=NOTHING, schedule=Single(function="main"), functions={"main": ("main",)}
    )
    assert list(schedule_rows(entry)) == [["schedule", "single", ""], ["calls", "main", "in main"]]


def test_a_decode_that_guesses() -> None:
    growing = decoder("growing").schedule
    assert isinstance(growing, Decode)
    draft = Draft(step="guess", window="window", count=5)
    schedule = growing.model_copy(update={"control": Engine(), "draft": draft})
    functions: dict[str, tuple[str, ...]] = dict.fromkeys(schedule.functions, ("m.decode",))
    entry = ModelEntry(source="0" * 64, signature=NOTHING, schedule=schedule, functions=functions)
    assert ["draft", "5 tokens at a time, by guess", "checked by window"] in list(schedule_rows(entry))
