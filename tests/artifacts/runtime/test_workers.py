from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from artifacts.bundle import Bundle
from artifacts.errors import RunError
from artifacts.runtime import Session
from artifacts.runtime.workers import Workers, equal_share
from tests.support.decoders import FORMS, Form

Array = npt.NDArray[Any]


def inputs(rows: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)


REQUESTS = [{"x": inputs(rows, seed)} for seed, rows in enumerate((1, 3, 2, 5, 1, 4) * 4)]


@pytest.mark.parametrize("form", FORMS)
def test_workers_answer_as_one_does(decoder_bundle: Bundle, form: Form) -> None:
    with Session.of(decoder_bundle, form) as one, Session.of(decoder_bundle, form, workers=3) as three:
        for expected, found in zip(one.run_many(REQUESTS, batch=4), three.run_many(REQUESTS, batch=4), strict=True):
            for name, array in expected.items():
                np.testing.assert_array_equal(found[name], array)
        whole = {"x": inputs(20)}
        np.testing.assert_array_equal(three.run(whole, batch=3)["tokens"], one.run(whole)["tokens"])


@pytest.mark.parametrize("workers", [1, 3])
def test_a_model_that_is_called_once_is_called_for_each_request(linear_bundle: Bundle, workers: int) -> None:
    with Session.of(linear_bundle, "one", workers=workers) as session:
        answers = session.run_many(REQUESTS)
        for request, answer in zip(REQUESTS, answers, strict=True):
            np.testing.assert_array_equal(answer["y"], session.run(request)["y"])


def test_a_session_is_safe_to_call_from_many_threads(decoder_bundle: Bundle) -> None:
    with Session.of(decoder_bundle, "growing", workers=2) as session, ThreadPoolExecutor(4) as callers:
        expected = session.run_many(REQUESTS, batch=2)
        for found in callers.map(lambda _: session.run_many(REQUESTS, batch=2), range(8)):
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one["tokens"], other["tokens"])


@pytest.mark.parametrize("workers", [1, 3])
def test_a_failing_call_is_the_callers_and_the_session_goes_on(decoder_bundle: Bundle, workers: int) -> None:
    with Session.of(decoder_bundle, "growing", workers=workers) as session:
        with pytest.raises(RunError, match="NaN"):
            session.run_many([*REQUESTS, {"x": np.full((1, 4), np.nan, np.float32)}], batch=1)
        assert len(session.run_many(REQUESTS, batch=1)) == len(REQUESTS)


def test_closing_ends_the_threads(decoder_bundle: Bundle) -> None:
    before = threading.active_count()
    session = Session.of(decoder_bundle, "growing", workers=3)
    session.run_many(REQUESTS, batch=1)
    assert threading.active_count() > before
    session.close()
    session.close()
    assert threading.active_count() == before
    with pytest.raises(RunError, match="closed"):
        session.run_many(REQUESTS)


def test_one_worker_is_the_callers_thread(decoder_bundle: Bundle) -> None:
    before = threading.active_count()
    with Session.of(decoder_bundle, "growing", threads=1) as session:
        session.run_many(REQUESTS, batch=1)
        assert threading.active_count() == before
    assert equal_share(1) is None
    assert equal_share(10_000) == 1


def test_so_many_calls_run_at_once_and_no_more() -> None:
    together, workers = threading.Barrier(3, timeout=20), Workers(3)
    assert workers.map(lambda number: (together.wait(), number)[1], range(6)) == list(range(6))
    running, most = set[int](), list[int]()

    def call(number: int) -> None:
        running.add(number)
        most.append(len(running))
        running.remove(number)

    workers.map(call, range(200))
    workers.close()
    assert max(most) <= 3


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_are_a_wrong_call(decoder_bundle: Bundle, workers: int) -> None:
    with pytest.raises(RunError, match=f"workers: is {workers}"):
        Session.of(decoder_bundle, "growing", workers=workers)


def test_the_environment_can_say_how_many_threads_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSPOOL_THREADS", "6")
    assert (equal_share(1), equal_share(2), equal_share(7)) == (6, 3, 1)


@pytest.mark.parametrize("said", ["", "0", "-1", "two", "1 ", "999999"])
def test_what_is_no_number_of_threads_is_an_error(
    said: str, monkeypatch: pytest.MonkeyPatch, decoder_bundle: Bundle
) -> None:
    monkeypatch.setenv("UNSPOOL_THREADS", said)
    with pytest.raises(RunError, match="UNSPOOL_THREADS"):
        Session.of(decoder_bundle, "growing")
