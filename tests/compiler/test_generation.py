from __future__ import annotations

import json
from pathlib import Path

import pytest

from artifacts.errors import UsageError
from artifacts.schedule import Beams, Generation
from compiler.generation import (
    DEFAULT_MAX_NEW_TOKENS,
    TokenFlags,
    generation_files,
    read_generation,
    unapplied_settings,
)

NONE = TokenFlags()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's path; only the files beside it are ever read."""
    return tmp_path / "model.onnx"


def write(model: Path, name: str = "generation_config.json", /, **content: object) -> None:
    (model.parent / name).write_text(json.dumps(content))


def read(model: Path, flags: TokenFlags = NONE) -> Generation:
    found = read_generation(model, flags)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "content", [None, {}, {"eos_token_id": 2}, {"bos_token_id": 1}, {"bos_token_id": 1, "eos_token_id": None}]
)
def test_without_a_start_and_an_end_there_is_no_generation(model: Path, content: dict[str, object] | None) -> None:
    if content is not None:
        write(model, **content)
    assert read_generation(model, NONE) is None


def test_flags_alone_are_enough(model: Path) -> None:
    expected = Generation(start=1, eos=(2,), pad=0, max_new_tokens=75)
    assert read(model, TokenFlags(start=1, eos=(2,), pad=0, max_new_tokens=75)) == expected


def test_token_0_is_a_token(model: Path) -> None:
    assert read(model, TokenFlags(start=0, eos=(0,), pad=0)).start == 0
    write(model, decoder_start_token_id=0, bos_token_id=5, eos_token_id=0, pad_token_id=0)
    found = read(model)
    assert (found.start, found.eos, found.pad) == (0, (0,), 0)


def test_the_decoders_start_goes_before_bos(model: Path) -> None:
    write(model, decoder_start_token_id=7, bos_token_id=1, eos_token_id=2)
    assert read(model).start == 7


def test_bos_starts_where_nothing_else_does(model: Path) -> None:
    write(model, bos_token_id=1, eos_token_id=2)
    assert read(model).start == 1


def test_the_generation_file_goes_before_the_models_own(model: Path) -> None:
    write(model, "config.json", decoder_start_token_id=7, eos_token_id=9, pad_token_id=3)
    write(model, decoder_start_token_id=8, eos_token_id=2, pad_token_id=None)
    found = read(model)
    assert (found.start, found.eos, found.pad) == (8, (2,), 3)


def test_flags_go_before_files(model: Path) -> None:
    write(model, decoder_start_token_id=8, eos_token_id=2, pad_token_id=3, max_new_tokens=50)
    found = read(model, TokenFlags(start=1, eos=(4, 5), pad=6, max_new_tokens=7))
    assert (found.start, found.eos, found.pad, found.max_new_tokens) == (1, (4, 5), 6, 7)


@pytest.mark.parametrize(
    ("content", "longest"),
    [
        ({}, DEFAULT_MAX_NEW_TOKENS),
        ({"max_new_tokens": 30}, 30),
        ({"max_length": 20}, 19),
        ({"max_new_tokens": 30, "max_length": 20}, 30),
        ({"max_length": 1}, DEFAULT_MAX_NEW_TOKENS),
        ({"max_new_tokens": 0}, DEFAULT_MAX_NEW_TOKENS),
    ],
)
def test_max_length_counts_the_start_token_and_max_new_tokens_does_not(
    model: Path, content: dict[str, int], longest: int
) -> None:
    write(model, bos_token_id=1, eos_token_id=2, **content)
    assert read(model).max_new_tokens == longest


def test_several_end_tokens_and_padding_by_the_first(model: Path) -> None:
    write(model, bos_token_id=1, eos_token_id=[5, 2])
    found = read(model)
    assert (found.eos, found.pad) == ((5, 2), 5)


def test_forced_and_suppressed_tokens(model: Path) -> None:
    write(
        model,
        bos_token_id=1,
        eos_token_id=2,
        forced_bos_token_id=3,
        forced_eos_token_id=[4, 5],
        suppress_tokens=[6, 7],
    )
    found = read(model)
    assert (found.forced_first, found.forced_last, found.suppressed) == (3, 4, (6, 7))


@pytest.mark.parametrize("value", [None, "2", -1, 2.5, True, [], {}])
def test_a_value_that_is_no_token_says_nothing(model: Path, value: object) -> None:
    write(model, bos_token_id=1, eos_token_id=2, decoder_start_token_id=value, pad_token_id=value)
    found = read(model)
    assert (found.start, found.pad) == (1, 2)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}", b"[1]", b"null", b""])
@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_a_file_that_cannot_be_understood_is_named(model: Path, name: str, content: bytes) -> None:
    (model.parent / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_generation(model, TokenFlags(start=1, eos=(2,)))
    (problem,) = caught.value.problems
    assert problem.subject.endswith(name)
    assert problem.hint


def test_the_files_that_count_are_those_that_exist(model: Path) -> None:
    assert generation_files(model) == ()
    write(model, "config.json")
    write(model)
    (model.parent / "tokenizer_config.json").write_text("{}")
    names = [path.name for path in generation_files(model)]
    assert names == ["generation_config.json", "config.json"]


BEAMS = {"num_beams": 4, "length_penalty": 2, "early_stopping": True}


@pytest.mark.parametrize(
    ("content", "flags", "beams"),
    [
        ({}, NONE, None),
        ({"num_beams": 1, "length_penalty": 2.0}, NONE, None),
        ({"num_beams": 4}, NONE, Beams(width=4)),
        (BEAMS, NONE, Beams(width=4, length_penalty=2.0, early_stopping=True)),
        ({**BEAMS, "early_stopping": "never"}, NONE, Beams(width=4, length_penalty=2.0, early_stopping="never")),
        ({**BEAMS, "early_stopping": None}, NONE, Beams(width=4, length_penalty=2.0)),
        (BEAMS, TokenFlags(beams=1), None),
        (BEAMS, TokenFlags(beams=3), Beams(width=3, length_penalty=2.0, early_stopping=True)),
        (
            BEAMS,
            TokenFlags(length_penalty=0.5, early_stopping=False),
            Beams(width=4, length_penalty=0.5, early_stopping=False),
        ),
        ({}, TokenFlags(beams=2, early_stopping="never"), Beams(width=2, early_stopping="never")),
    ],
)
def test_beams_are_asked_for_by_flags_or_files(
    model: Path, content: dict[str, object], flags: TokenFlags, beams: Beams | None
) -> None:
    write(model, bos_token_id=1, eos_token_id=2, **content)
    assert read(model, flags).beams == beams


def test_bad_words_of_one_token_are_suppressed_and_an_end_token_never(model: Path) -> None:
    write(model, bos_token_id=1, eos_token_id=2, suppress_tokens=[9], bad_words_ids=[[5], [6, 7], [2]])
    assert read(model).suppressed == (9, 5)


def test_settings_that_are_not_applied_are_named(model: Path) -> None:
    assert unapplied_settings(model) == ()
    write(model, "config.json", no_repeat_ngram_size=3, min_length=0, repetition_penalty=1.0, num_beams=4)
    assert unapplied_settings(model) == ("no_repeat_ngram_size 3",)
    write(model, no_repeat_ngram_size=0, begin_suppress_tokens=[220], do_sample=True)
    assert unapplied_settings(model) == ("do_sample True", "begin_suppress_tokens [220]")
