from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from artifacts.errors import RunError
from artifacts.runtime.beam import BeamSearch
from artifacts.runtime.greedy import Greedy
from artifacts.runtime.selector import selector_for
from artifacts.schedule import Beams, Generation

Array = npt.NDArray[Any]
Scores = Callable[[tuple[int, ...]], Array]

VOCABULARY = 5
RULES = Generation(start=1, eos=(2,), pad=0, max_new_tokens=4)


def language(seed: int) -> Scores:
    """Random scores of the next token that depend on all tokens before it."""

    def scores(prefix: tuple[int, ...]) -> Array:
        return 2 * np.random.default_rng((seed, *prefix)).standard_normal(VOCABULARY)

    return scores


def log_probabilities(scores: Array) -> Array:
    weights = np.exp(scores)
    found: Array = np.log(weights / weights.sum())
    return found


def search(languages: list[Scores], generation: Generation, beams: Beams) -> dict[str, Array]:
    """Decode one row per language."""
    rows = BeamSearch(generation, beams, len(languages))
    while not rows.finished:
        fed = rows.fed.reshape(len(languages), beams.width, -1)
        found = [scores(tuple(row.tolist())) for scores, block in zip(languages, fed, strict=True) for row in block]
        rows.append(np.array(found))
    return rows.result()


def every_sequence(scores: Scores, generation: Generation) -> dict[tuple[int, ...], float]:
    """Every sequence that can be generated, with sum(log p)."""
    found: dict[tuple[int, ...], float] = {}
    pending: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    while pending:
        made, total = pending.pop()
        steps = log_probabilities(scores((generation.start, *made)))
        for token in range(VOCABULARY):
            longer, score = (*made, token), total + float(steps[token])
            if token in generation.eos or len(longer) == generation.max_new_tokens:
                found[longer] = score
            else:
                pending.append((longer, score))
    return found


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(8))
def test_beams_enough_for_everything_find_the_best_of_all_sequences(seed: int, penalty: float) -> None:
    every = every_sequence(language(seed), RULES)
    best = max(every, key=lambda made: every[made] / len(made) ** penalty)
    found = search([language(seed)], RULES, Beams(width=300, length_penalty=penalty, early_stopping="never"))
    assert found["tokens"][0, : found["lengths"][0]].tolist() == list(best)
    assert found["scores"][0] == pytest.approx(every[best] / len(best) ** penalty, abs=1e-5)


@pytest.mark.parametrize("early", [True, False, "never"])
@pytest.mark.parametrize("seed", range(8))
def test_a_batch_is_its_rows_one_by_one(seed: int, early: bool | Literal["never"]) -> None:
    beams = Beams(width=3, length_penalty=1.0, early_stopping=early)
    rules = RULES.model_copy(update={"max_new_tokens": 7, "eos": (2, 4)})
    languages = [language(seed * 10 + row) for row in range(4)]
    together = search(languages, rules, beams)
    for row, scores in enumerate(languages):
        alone = search([scores], rules, beams)
        length = alone["lengths"][0]
        assert together["lengths"][row] == length
        assert together["tokens"][row, :length].tolist() == alone["tokens"][0].tolist()
        assert (together["tokens"][row, length:] == rules.pad).all()
        assert together["scores"][row] == pytest.approx(alone["scores"][0])


@pytest.mark.parametrize("seed", range(8))
def test_the_order_says_which_row_each_one_continues(seed: int) -> None:
    rows = BeamSearch(RULES, Beams(width=3), 2)
    random = np.random.default_rng(seed)
    while not rows.finished:
        before = rows.fed
        rows.append(random.standard_normal((6, VOCABULARY)))
        assert rows.order is not None
        np.testing.assert_array_equal(rows.fed[:, :-1], before[rows.order])
        assert (rows.order // 3).tolist() == [0, 0, 0, 1, 1, 1]


def scripted(*steps: dict[int, float]) -> Scores:
    """Probabilities of tokens by position, whatever came before; what is not named has none."""

    def scores(prefix: tuple[int, ...]) -> Array:
        found = np.full(VOCABULARY, 1e-9)
        for token, probability in steps[len(prefix) - 1].items():
            found[token] = probability
        logits: Array = np.log(found)
        return logits

    return scores


ENDS_EARLY = scripted({2: 0.4, 3: 0.6}, {2: 0.3, 3: 0.4, 4: 0.3}, {3: 0.9, 4: 0.1}, {2: 0.9, 3: 0.1})
"""Of two beams the first ends at once with p 0.4, another after two tokens with p 0.18; the longest has 0.1944."""


def test_early_stopping_ends_as_soon_as_enough_have_ended() -> None:
    found = search([ENDS_EARLY], RULES, Beams(width=2, length_penalty=0.0, early_stopping=True))
    assert found["tokens"].tolist() == [[2]]
    assert found["scores"][0] == pytest.approx(np.log(0.4), abs=1e-5)


def test_a_length_penalty_favours_what_is_long() -> None:
    found = search([ENDS_EARLY], RULES, Beams(width=2, length_penalty=2.0, early_stopping="never"))
    assert found["tokens"].tolist() == [[3, 3, 3, 2]]
    assert found["scores"][0] == pytest.approx(np.log(0.6 * 0.4 * 0.9 * 0.9) / 16, abs=1e-5)


def test_looking_on_by_the_length_so_far_stops_before_never_does() -> None:
    steps = []
    for early in (False, "never"):
        rows = BeamSearch(RULES, Beams(width=2, length_penalty=3.0, early_stopping=early), 1)
        while not rows.finished:
            rows.append(np.array([ENDS_EARLY(tuple(row.tolist())) for row in rows.fed]))
        steps.append(rows.position)
    assert steps[0] <= steps[1] == RULES.max_new_tokens


def test_forced_and_suppressed_tokens() -> None:
    rules = RULES.model_copy(update={"forced_first": 4, "forced_last": 3, "suppressed": (2, 99)})
    for seed in range(6):
        tokens = search([language(seed)], rules, Beams(width=3))["tokens"][0].tolist()
        assert (tokens[0], tokens[-1], len(tokens)) == (4, 3, 4)
        assert 2 not in tokens


def test_a_forced_first_token_leaves_the_best_beams() -> None:
    rules = RULES.model_copy(update={"forced_first": 4})
    every = {m: s for m, s in every_sequence(language(3), rules).items() if m[0] == 4}
    first = log_probabilities(language(3)((1,)))[4]
    best = max(every, key=lambda made: every[made] - first)
    found = search([language(3)], rules, Beams(width=200, length_penalty=0.0, early_stopping="never"))
    assert found["tokens"][0, : found["lengths"][0]].tolist() == list(best)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_without_usable_scores_is_an_error_that_names_it(bad: float) -> None:
    rows = BeamSearch(RULES, Beams(width=2), 3)
    scores = np.zeros((6, VOCABULARY), np.float32)
    scores[3] = bad
    with pytest.raises(RunError, match=r"row 1 of the batch: the logits are NaN.*position 0"):
        rows.append(scores)


def test_what_a_closed_request_scores_does_not_matter() -> None:
    rows = BeamSearch(RULES, Beams(width=2, early_stopping=True, length_penalty=0.0), 2)
    ending = np.log(np.full((4, VOCABULARY), 1e-6))
    ending[:2, 2], ending[2:, 3] = 0.0, 0.0
    for _ in range(3):
        if not rows.finished:
            rows.append(ending)
            ending[:2] = np.nan if rows.position == 2 else ending[:2]
    assert rows.result()["tokens"][0, 0] == 2


def test_an_empty_batch_is_finished_from_the_start() -> None:
    rows = BeamSearch(RULES, Beams(width=2), 0)
    assert rows.finished
    assert {name: array.shape for name, array in rows.result().items()} == {
        "tokens": (0, 0),
        "lengths": (0,),
        "scores": (0,),
    }


def test_a_large_vocabulary_gives_the_same_candidates_as_sorting_all_of_it() -> None:
    scores = np.random.default_rng(0).standard_normal((3, 5000))
    rows = BeamSearch(RULES, Beams(width=3), 1)
    rows.append(scores)
    best = np.argsort(-(scores[0] - np.log(np.exp(scores[0]).sum())), kind="stable")
    assert rows.fed[:, 1].tolist() == [token for token in best[:6].tolist() if token != 2][:3]


@pytest.mark.parametrize(("beams", "kind"), [(None, Greedy), (Beams(width=2), BeamSearch)])
def test_the_settings_say_what_selects(beams: Beams | None, kind: type) -> None:
    selector = selector_for(RULES.model_copy(update={"beams": beams}), 3)
    assert isinstance(selector, kind)
    assert len(selector.fed) == 3 * selector.width


def test_every_width_of_a_tiny_vocabulary_ends() -> None:
    for width, seed in itertools.product((2, 3, 5), range(3)):
        found = search([language(seed)], RULES, Beams(width=width))
        assert 1 <= found["lengths"][0] <= RULES.max_new_tokens
