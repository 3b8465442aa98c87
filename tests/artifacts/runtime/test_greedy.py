from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from artifacts.errors import RunError
from artifacts.runtime.greedy import Greedy
from artifacts.schedule import Generation

Array = npt.NDArray[Any]

PLAIN = Generation(start=1, eos=(2, 3), pad=0, max_new_tokens=4)


def scores(*tokens: int, dtype: npt.DTypeLike = np.float32) -> Array:
    """Scores [rows, 6] whose highest are the given tokens."""
    return np.eye(6, dtype=dtype)[list(tokens)]


def decode(generation: Generation, *steps: Array) -> dict[str, list[Any]]:
    rows = Greedy(generation, len(steps[0]))
    for step in steps:
        assert not rows.finished
        rows.append(step)
    assert rows.finished
    return {name: array.tolist() for name, array in rows.result().items()}


def test_rows_end_at_any_end_token_which_is_kept_and_counted() -> None:
    found = decode(PLAIN, scores(4, 2, 5), scores(3, 5, 5), scores(5, 5, 2))
    assert found == {"tokens": [[4, 3, 0], [2, 0, 0], [5, 5, 2]], "lengths": [2, 1, 3]}


def test_rows_that_never_end_stop_at_the_most_tokens() -> None:
    found = decode(PLAIN, *[scores(4)] * 4)
    assert found == {"tokens": [[4, 4, 4, 4]], "lengths": [4]}


def test_what_is_fed_starts_with_the_start_token() -> None:
    rows = Greedy(PLAIN, 2)
    assert rows.fed.tolist() == [[1], [1]]
    rows.append(scores(4, 2))
    assert rows.fed.tolist() == [[1, 4], [1, 2]]
    rows.append(scores(5, 5))
    assert rows.fed.tolist() == [[1, 4, 5], [1, 2, 0]]
    assert rows.position == 2


def test_suppressed_tokens_are_never_chosen_and_the_scores_stay() -> None:
    rules = PLAIN.model_copy(update={"suppressed": (4, 5, 99), "max_new_tokens": 1})
    given = scores(4, 5, 3) + np.array([0, 0, 0, 0.5, 0, 0], np.float32)
    before = given.copy()
    assert decode(rules, given)["tokens"] == [[3], [3], [3]]
    np.testing.assert_array_equal(given, before)


def test_forced_tokens_come_first_and_last() -> None:
    rules = PLAIN.model_copy(update={"forced_first": 5, "forced_last": 2, "max_new_tokens": 3})
    found = decode(rules, scores(4, 4), scores(4, 3), scores(4, 4))
    assert found == {"tokens": [[5, 4, 2], [5, 3, 0]], "lengths": [3, 2]}


def test_a_forced_first_token_that_ends_ends() -> None:
    assert decode(PLAIN.model_copy(update={"forced_first": 3}), scores(4))["lengths"] == [1]


def test_of_equal_scores_the_lowest_token_is_chosen() -> None:
    assert decode(PLAIN, np.ones((1, 6)), scores(2))["tokens"] == [[0, 2]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_a_row_without_a_usable_score_is_an_error_that_names_it(dtype: npt.DTypeLike, bad: float) -> None:
    rows = Greedy(PLAIN, 2)
    rows.append(scores(4, 4, dtype=dtype))
    broken = scores(4, 4, dtype=dtype)
    broken[1] = bad
    with pytest.raises(RunError, match=r"row 1 of the batch: the logits are NaN.*position 1"):
        rows.append(broken)


def test_one_nan_in_a_row_is_enough() -> None:
    broken = scores(4)
    broken[0, 0] = np.nan
    with pytest.raises(RunError, match="row 0"):
        Greedy(PLAIN, 1).append(broken)


def test_infinity_is_the_highest_score() -> None:
    given = scores(4)
    given[0, 2] = np.inf
    assert decode(PLAIN, given)["tokens"] == [[2]]


def test_what_an_ended_row_scores_does_not_matter() -> None:
    nan = scores(2, 4)
    nan[0] = np.nan
    assert decode(PLAIN, scores(2, 4), nan, scores(4, 2))["tokens"] == [[2, 0, 0], [4, 4, 2]]


def test_an_empty_batch_is_finished_from_the_start() -> None:
    rows = Greedy(PLAIN, 0)
    assert rows.finished
    assert rows.result()["tokens"].shape == (0, 0)


def test_rows_are_dropped_once_a_quarter_has_ended_and_keep_their_places() -> None:
    rules = PLAIN.model_copy(update={"max_new_tokens": 5})
    rows = Greedy(rules, 5, drops=True)
    rows.append(scores(4, 2, 4, 4, 4))
    assert rows.order is None, "one of five is too few"
    rows.append(scores(4, 4, 5, 3, 4))
    assert rows.order is not None
    assert rows.order.tolist() == [0, 2, 4]
    assert rows.fed.tolist() == [[1, 4, 4], [1, 4, 5], [1, 4, 4]]
    with pytest.raises(RunError, match="row 4 of the batch"):
        rows.append(np.array([*scores(2, 2), [np.nan] * 6]))
    rows.append(scores(5, 2, 2))
    assert rows.order.tolist() == [0]
    rows.append(scores(2))
    assert rows.finished
    found = rows.result()
    assert found["tokens"].tolist() == [[4, 4, 5, 2], [2, 0, 0, 0], [4, 5, 2, 0], [4, 3, 0, 0], [4, 4, 2, 0]]
    assert found["lengths"].tolist() == [4, 1, 3, 2, 3]
