"""An engine that guesses gives the tokens that the step gives, however bad its guesses are."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from artifacts.schedule import Engine, Generation
from passes.decode import greedy
from passes.program import Program
from passes.tabulate_positions import TabulatePositions
from passes.two_stage_head import TwoStageHead
from tests.support.composed import Composed, composed_of
from tests.support.decoder_modules import LONGEST, converted_decoder, schedule_of
from tests.support.decoder_programs import controlled
from tests.support.drafts import guessing_badly, with_window

COUNT = 3
NOISES = (0.0, 0.1, 1.0)
RULES: dict[str, dict[str, object]] = {
    "plain": {},
    "ends early": {"eos": (2, 5, 6, 7)},
    "everything": {
        "start": 3, "eos": (2, 5, 7), "pad": 8, "forced_first": 4, "forced_last": 3, "suppressed": (6, 9, 99)
    },
    "ends at once": {"forced_first": 2},
    "one window": {"max_new_tokens": COUNT + 1},
    "no window fits": {"max_new_tokens": COUNT},
    "one more than a window": {"max_new_tokens": COUNT + 2},
    "one token": {"max_new_tokens": 1},
}  # fmt: skip


@cache
def program_of(noise: float, head: str) -> Program:
    program = with_window("attention", COUNT)
    if head == "in two stages":
        program = TwoStageHead(least_bytes=0)(TabulatePositions()(program).program).program
        assert schedule_of(program).choice is not None
    return guessing_badly(program, noise)


@cache
def composed(noise: float, head: str) -> Composed:
    return composed_of(program_of(noise, head))


def requests() -> list[np.ndarray]:
    """Sources of one row, and one of three rows, for which nothing is guessed."""
    random = np.random.default_rng(3)
    return [random.standard_normal((rows, 5, 8)).astype(np.float32) for rows in (1, 1, 1, 3)]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("noise", NOISES)
def test_the_tokens_are_those_of_the_step(tmp_path: Path, noise: float, rules: str) -> None:
    program = controlled(program_of(noise, "whole"), Engine(), **RULES[rules])
    generation = schedule_of(program).generation
    with composed(noise, "whole").scheduled(Engine(), generation).opened(tmp_path) as session:
        for source in requests():
            answer = session.answer({"source": source})
            expected = greedy(program, schedule_of(program), {"source": source}, len(source), LONGEST)
            np.testing.assert_array_equal(answer.outputs["tokens"], expected["tokens"])
            np.testing.assert_array_equal(answer.outputs["lengths"], expected["lengths"])


def tokens_and_counts(tmp_path: Path, noise: float, head: str, source: np.ndarray) -> tuple[list[int], int, int]:
    with composed(noise, head).opened(tmp_path) as session:
        answer = session.answer({"source": source})
    assert answer.drafted is not None
    return answer.outputs["tokens"].tolist(), answer.drafted.tokens, answer.drafted.accepted


@pytest.mark.parametrize("head", ["whole", "in two stages"])
def test_right_guesses_are_kept_and_counted(tmp_path: Path, head: str) -> None:
    source = requests()[0]
    exact, wrong = (tokens_and_counts(tmp_path, noise, head, source) for noise in (0.0, 1.0))
    assert exact[0] == wrong[0]
    turns = LONGEST // (COUNT + 1)
    assert exact[1:] == (turns * COUNT, turns * COUNT)
    assert wrong[1] > wrong[2]
    assert wrong[1] > exact[1]


def test_several_rows_guess_nothing(tmp_path: Path) -> None:
    assert tokens_and_counts(tmp_path, 0.0, "whole", requests()[-1])[1:] == (0, 0)


def test_the_cases_end_in_windows_and_behind_them() -> None:
    program = converted_decoder("attention")
    lengths = set[int]()
    for rules in RULES.values():
        schedule = schedule_of(controlled(program, Engine(), **rules))
        for source in requests():
            lengths |= {int(n) for n in greedy(program, schedule, {"source": source}, len(source), LONGEST)["lengths"]}
    assert {1, COUNT, COUNT + 1, COUNT + 2, LONGEST} <= lengths


def test_rules_are_whole() -> None:
    fields = set().union(*RULES.values())
    assert fields == set(Generation.model_fields) - {"beams"}
