from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.bundle import Bundle
from artifacts.dtype import DType
from artifacts.errors import RunError
from artifacts.runtime import Session
from artifacts.runtime.batches import Rows
from artifacts.schedule import Beams
from artifacts.spec import Dim, Signature
from tests.support import bundles
from tests.support.bundles import spec
from tests.support.decoders import FORMS, Form, counting, greedy

Array = npt.NDArray[Any]


def inputs(rows: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def sessions(decoder_bundle: Bundle) -> Iterator[dict[str, Session]]:
    opened: dict[str, Session] = {form: Session.of(decoder_bundle, form, threads=1) for form in FORMS}
    yield opened
    for session in opened.values():
        session.close()


@settings(max_examples=40, deadline=None)
@given(
    form=st.sampled_from(FORMS),
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    batch=st.integers(1, 9),
    seed=st.integers(0, 999),
    sort=st.booleans(),
)
def test_each_of_many_requests_is_answered_as_if_it_were_alone(
    sessions: dict[str, Session], form: Form, sizes: list[int], batch: int, seed: int, sort: bool
) -> None:
    requests = [{"x": inputs(rows, seed + number)} for number, rows in enumerate(sizes)]
    expected = np.random.default_rng(seed).permutation(len(sizes)).tolist() if sort else None
    answers = sessions[form].run_many(requests, batch=batch, expected=expected)
    for request, answer in zip(requests, answers, strict=True):
        alone = sessions[form].run(request)
        assert answer.keys() == alone.keys()
        for name, array in alone.items():
            np.testing.assert_array_equal(answer[name], array)


def test_the_rows_of_a_request_are_decoded_so_many_at_a_time(sessions: dict[str, Session]) -> None:
    x = inputs(16)
    tokens, lengths = greedy(x)
    answer = sessions["growing"].answer({"x": x}, batch=3)
    np.testing.assert_array_equal(answer.outputs["tokens"], tokens)
    np.testing.assert_array_equal(answer.outputs["lengths"], lengths)
    steps = sum(int(lengths[begin : begin + 3].max()) for begin in range(0, 16, 3))
    assert answer.calls == {"encoder": 6, "step": steps}
    assert sessions["growing"].run({"x": x[:0]}, batch=3)["tokens"].shape == (0, 0)


def test_rows_that_are_expected_to_end_together_take_fewer_steps(
    sessions: dict[str, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = inputs(16)
    tokens, lengths = greedy(x)
    session, steps = sessions["growing"], list[int]()
    run = session._plan.run

    def counted(arrays: dict[str, Array]) -> Any:
        answer = run(arrays)
        steps.append(answer.calls["step"])
        return answer

    monkeypatch.setattr(session._plan, "run", counted)
    requests = [{"x": row[None]} for row in x]
    taken = []
    for expected in (None, lengths.tolist()):
        steps.clear()
        answers = session.run_many(requests, batch=4, expected=expected)
        assert [answer["tokens"][0].tolist() for answer in answers] == [
            row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)
        ]
        taken.append(sum(steps))
    assert taken[1] == np.sort(lengths)[3::4].sum() < taken[0]


def test_beams_come_in_batches_too(decoder_bundle: Bundle) -> None:
    x = inputs(5)
    with Session.of(decoder_bundle, "growing", beams=Beams(width=3)) as session:
        whole, parts = session.run({"x": x}), session.run({"x": x}, batch=2)
    assert parts.keys() == whole.keys() == {"tokens", "lengths", "scores"}
    np.testing.assert_array_equal(parts["tokens"], whole["tokens"])
    np.testing.assert_allclose(parts["scores"], whole["scores"], rtol=1e-5)


def test_only_requests_that_differ_in_rows_alone_are_decoded_together() -> None:
    symbols: tuple[tuple[str, tuple[Dim, ...]], ...] = (("a", ("s", "rows")), ("b", ("rows",)), ("scale", ()))
    signature = Signature(
        inputs=tuple(spec(name, DType.FLOAT32, *shape) for name, shape in symbols),
        outputs=(spec("tokens", DType.INT64, "rows", "n"),),
    )
    rows = Rows.of(signature, pad=0)
    assert rows is not None
    assert rows.axes == {"a": 1, "b": 0}
    requests = [
        {"a": np.ones((length, count)), "b": np.ones(count), "scale": np.array(scale)}
        for length, count, scale in ((3, 1, 1.0), (4, 1, 1.0), (3, 2, 1.0), (3, 1, 2.0), (4, 0, 1.0))
    ]
    assert rows.alike(requests) == [[0, 2], [1, 4], [3]]
    assert {name: array.shape for name, array in rows.together([requests[0], requests[2]]).items()} == {
        "a": (3, 3),
        "b": (3,),
        "scale": (),
    }


@pytest.mark.parametrize("shape", [(2, 3), ("rows", "rows"), ("2*rows",), ("n",)])
def test_rows_that_no_input_tells_are_not_cut(shape: tuple[Dim, ...]) -> None:
    given = Signature(inputs=(spec("a", DType.FLOAT32, *shape),), outputs=(spec("tokens", DType.INT64, "rows", "n"),))
    assert Rows.of(given, pad=0) is None


def test_what_cannot_be_cut_or_is_wrong_says_so(tmp_path: Path, sessions: dict[str, Session]) -> None:
    bundles.write(tmp_path / "b", {"once": bundles.linear(), "fixed": counting(batch=2)})
    with Session.open(tmp_path / "b", "once") as session, pytest.raises(RunError, match="is called once"):
        session.run({"x": inputs(4)}, batch=2)
    with Session.open(tmp_path / "b", "fixed") as session, pytest.raises(RunError, match="a fixed number of rows"):
        session.run_many([{}])
    with pytest.raises(RunError, match="x of request 1: has size 3"):
        sessions["growing"].run_many([{"x": inputs(1)}, {"x": inputs(1)[:, :3]}])
    with pytest.raises(RunError, match="has 1 numbers for 2 requests"):
        sessions["growing"].run_many([{"x": inputs(1)}] * 2, expected=[1])
    with pytest.raises(RunError, match="is 0"):
        sessions["growing"].run({"x": inputs(1)}, batch=0)
