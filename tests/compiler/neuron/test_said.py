"""What is made of the words of a compiler that fails."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.neuron.said import EXPLAINED, LONGEST_WORDS, Complaint, complaint


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", Complaint("it said nothing")),
        ("\n \n***\n", Complaint("it said nothing")),
        ("one\n\ntwo\nthree\nfour\n", Complaint("two three four")),
        ("usage: x\nx: error: the following arguments are required: --output\n",
         Complaint("x: error: the following arguments are required: --output")),
        ("[LUR015] too many", Complaint("[LUR015] too many", "LUR015")),
        ("2026-01-02T03:04:05Z [NCC_EUOC002] no sort\nof it\n\nelse",
         Complaint("[NCC_EUOC002] no sort of it", "NCC_EUOC002", EXPLAINED["NCC_EUOC002"])),
        ("WARNING [NCC_WABC001] odd\ntensor[ABC]\nlast", Complaint("WARNING [NCC_WABC001] odd tensor[ABC] last")),
        ("ERROR: first\n\nERROR: second", Complaint("ERROR: first")),
    ],
)  # fmt: skip
def test_the_first_error_is_told_in_its_own_words(said: str, expected: Complaint) -> None:
    assert complaint(said) == expected


@given(st.text())
def test_all_that_can_be_said_gives_words_of_a_bounded_length(said: str) -> None:
    found = complaint(said * 50)
    assert 0 < len(found.words) <= LONGEST_WORDS + 3
    assert (found.explanation != "") <= (found.code in EXPLAINED)


def test_every_code_that_is_explained_has_the_form_that_is_looked_for() -> None:
    for code, explanation in EXPLAINED.items():
        assert complaint(f"[{code}] something") == Complaint(f"[{code}] something", code, explanation)
