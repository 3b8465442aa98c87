"""Every pair of state and control against a decoder written in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.host_cache import CACHE_VARIABLE
from artifacts.manifest import Access
from artifacts.schedule import Control, Engine, Generation, Partitioned, Unrolled
from tests.support.composed import composed
from tests.support.decoder_programs import FORMS, LENGTH, Form, greedy

CONTROLS = (Engine(), Unrolled(), Partitioned(boundaries=(1, 3, LENGTH)), Partitioned(boundaries=(LENGTH,)))
RULES: dict[str, Generation] = {
    "plain": Generation(start=1, eos=(2,), pad=0, max_new_tokens=LENGTH),
    "everything": Generation(
        start=3, eos=(2, 5, 7), pad=8, max_new_tokens=LENGTH, forced_first=4, forced_last=3, suppressed=(6, 9, 99)
    ),
    "two ends": Generation(start=0, eos=(10, 4), pad=10, max_new_tokens=LENGTH),
    "ends at once": Generation(start=1, eos=(2,), pad=0, max_new_tokens=LENGTH, forced_first=2),
}


def rows(batch: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((batch, 4)).astype(np.float32)


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.kind)
@pytest.mark.parametrize("form", FORMS)
def test_every_schedule_gives_the_tokens_of_the_reference(
    tmp_path: Path, form: Form, control: Control, rules: str
) -> None:
    generation = RULES[rules]
    with composed(form).scheduled(control, generation).opened(tmp_path) as session:
        assert [spec.name for spec in session.signature.inputs] == ["x"]
        for batch, seed in ((1, 0), (1, 1), (7, 2)):
            x = rows(batch, seed)
            found, expected = session.run({"x": x}), greedy(x, generation)
            np.testing.assert_array_equal(found["tokens"], expected["tokens"])
            np.testing.assert_array_equal(found["lengths"], expected["lengths"])
            assert found["tokens"].dtype == found["lengths"].dtype == np.int64


@pytest.mark.parametrize("weights", ["mapped", "cached"])
@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.kind)
def test_every_schedule_gives_them_however_engines_take_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control: Control, weights: Access
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    decode = composed(FORMS[0]).scheduled(control, RULES["plain"])
    for _ in range(2):  # what is cached is made by the first, and used by the second
        with decode.opened(tmp_path, weights) as session:
            x = rows(7, 2)
            np.testing.assert_array_equal(session.run({"x": x})["tokens"], greedy(x, RULES["plain"])["tokens"])


def test_the_cases_end_early_late_and_never() -> None:
    lengths = {int(n) for rules in RULES.values() for n in greedy(rows(7, 2), rules)["lengths"]}
    assert {1, 2, LENGTH} <= lengths
    assert len(lengths) > 4


# Without a deadline: the first example of a form translates it, unless a test before has.
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(FORMS),
    cuts=st.sets(st.integers(1, LENGTH - 1)),
    longest=st.integers(1, LENGTH),
    eos=st.sets(st.integers(0, 10), min_size=1, max_size=4).map(sorted).map(tuple),
    batch=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_as_many_partitions_run_as_the_longest_row_demands(
    tmp_path: Path, form: Form, cuts: set[int], longest: int, eos: tuple[int, ...], batch: int, seed: int
) -> None:
    # A padded step has all its places, whatever the limit.
    boundaries = (*sorted(cut for cut in cuts if cut < longest), longest)
    generation = Generation(start=1, eos=eos, pad=0, max_new_tokens=longest)
    x = rows(batch, seed)
    expected = greedy(x, generation)
    demanded = 1 + sum(cut < expected["lengths"].max() for cut in boundaries[:-1])
    with composed(form).scheduled(Partitioned(boundaries=boundaries), generation).opened(tmp_path) as session:
        answer = session.answer({"x": x})
    np.testing.assert_array_equal(answer.outputs["tokens"], expected["tokens"])
    np.testing.assert_array_equal(answer.outputs["lengths"], expected["lengths"])
    apart = {} if form == "whole" else {"encoder": 1}
    assert answer.calls == {**apart, "step": demanded}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(FORMS),
    eos=st.sets(st.integers(0, 10), min_size=1, max_size=4).map(sorted).map(tuple),
    order=st.integers(1, 12).flatmap(lambda count: st.permutations(range(count))),
    seed=st.integers(0, 99),
)
def test_rows_of_an_engine_have_the_tokens_that_they_have_alone(
    tmp_path: Path, form: Form, eos: tuple[int, ...], order: list[int], seed: int
) -> None:
    generation = Generation(start=1, eos=eos, pad=0, max_new_tokens=LENGTH)
    x = rows(len(order), seed)[order]
    with composed(form).scheduled(Engine(), generation).opened(tmp_path) as session:
        found = session.run({"x": x})
        for row, tokens, length in zip(x, found["tokens"], found["lengths"], strict=True):
            alone = session.run({"x": row[None]})
            assert alone["lengths"].tolist() == [length]
            assert alone["tokens"][0].tolist() == tokens[:length].tolist()
            assert (tokens[length:] == generation.pad).all()
