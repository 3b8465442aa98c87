from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from artifacts.bundle import Bundle
from artifacts.dtype import DType
from artifacts.engines import Buffer, EngineRunner, open_engine
from artifacts.errors import BundleError, RunError
from artifacts.runtime import Session
from artifacts.runtime.beam import BeamSearch
from artifacts.runtime.decode import HostDecoder
from artifacts.runtime.live_rows import DROPPED_SHARE
from artifacts.schedule import Beams, CacheSlot, Decode, Engine, Single
from artifacts.spec import Signature
from tests.support import bundles, decoders
from tests.support.bundles import Graph, Model, spec
from tests.support.decoders import COUNTING, FORMS, GENERATION, MAX_NEW_TOKENS, Form, counting, decoder, greedy

Array = npt.NDArray[Any]


def inputs(rows: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def sessions(decoder_bundle: Bundle) -> Iterator[dict[str, Session]]:
    opened: dict[str, Session] = {form: Session.of(decoder_bundle, form, threads=1) for form in FORMS}
    yield opened
    for session in opened.values():
        session.close()


@settings(max_examples=50)
@given(form=st.sampled_from(FORMS), rows=st.integers(1, 16), seed=st.integers(0, 999))
def test_every_form_gives_the_tokens_of_the_reference(
    sessions: dict[str, Session], form: Form, rows: int, seed: int
) -> None:
    x = inputs(rows, seed)
    found = sessions[form].run({"x": x})
    tokens, lengths = greedy(x)
    np.testing.assert_array_equal(found["tokens"], tokens)
    np.testing.assert_array_equal(found["lengths"], lengths)
    assert found["tokens"].dtype == found["lengths"].dtype == np.int64


def test_the_cases_have_rows_that_end_early_late_and_never() -> None:
    _, lengths = greedy(inputs(16))
    assert {1, 4, 6, 10, MAX_NEW_TOKENS} <= set(lengths.tolist())


@pytest.mark.parametrize("form", FORMS)
def test_it_stops_when_all_rows_have_ended(sessions: dict[str, Session], form: Form) -> None:
    x = inputs(16)
    tokens, lengths = greedy(x)
    early = np.flatnonzero(lengths < MAX_NEW_TOKENS)
    found = sessions[form].run({"x": x[early]})
    assert found["tokens"].shape == (early.size, lengths[early].max())
    np.testing.assert_array_equal(found["tokens"], tokens[early, : lengths[early].max()])


@pytest.mark.parametrize("form", FORMS)
def test_the_signature_is_the_encoders_input_and_the_tokens(sessions: dict[str, Session], form: Form) -> None:
    signature = sessions[form].signature
    assert signature.inputs == (decoders.INPUT,)
    assert [(s.name, s.dtype, s.rank) for s in signature.outputs] == [
        ("tokens", DType.INT64, 2),
        ("lengths", DType.INT64, 1),
    ]


class Watched:
    """A runner that notes how many rows of each input it is given."""

    def __init__(self, inner: EngineRunner) -> None:
        self._inner = inner
        self.rows: list[dict[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def run(self, given: Mapping[str, Buffer]) -> dict[str, Buffer]:
        self.rows.append({name: buffer.shape[0] for name, buffer in given.items() if buffer.shape})
        return self._inner.run(given)


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_have_ended_are_dropped_from_all_that_a_step_takes(decoder_bundle: Bundle, form: Form) -> None:
    model = decoder_bundle.manifest.models[form]
    runners: dict[str, Any] = {
        function: open_engine(decoder_bundle.root, decoder_bundle.manifest.engines[f"{form}-{function}"])
        for function in ("encoder", "step")
    }
    step = runners["step"] = Watched(runners["step"])
    assert isinstance(model.schedule, Decode)
    x = inputs(16)
    _, lengths = greedy(x)
    HostDecoder(model.schedule, runners, decoders.SOURCE).run({"x": x})
    for position, taken in enumerate(step.rows):
        (rows,) = set(taken.values())
        going = int((lengths > position).sum())
        assert going <= rows < going / (1 - DROPPED_SHARE) + 1, "a quarter may have ended, and no more"
    assert step.rows[-1]["tokens"] < 16


def test_a_number_of_rows_that_is_fixed_stays(tmp_path: Path) -> None:
    """One row of two is done at once, and the step takes two to the end."""
    model = counting(batch=2, extra=(spec("first", DType.INT64, 2, 1),))
    nodes = [
        helper.make_node("Cast", ["tokens"], ["wide"], to=7),
        helper.make_node("Add", ["wide", "first"], ["next"]),
        *model.functions["step"].nodes[3:],
    ]
    step = Graph(nodes, model.signature)
    bundles.write(tmp_path / "b", {"m": Model(model.schedule, model.signature, {"step": step})})
    with Session.open(tmp_path / "b") as session:
        found = session.run({"first": np.array([[4], [1]])})
    assert found["tokens"].tolist() == [[7, 0, 0, 0], [4, 5, 6, 7]]


RULES = GENERATION.model_copy(
    update={"forced_first": 7, "forced_last": 5, "suppressed": (8, 9), "start": 3, "pad": 6, "max_new_tokens": 9}
)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_follows_the_rules_of_generation(tmp_path: Path, form: Form) -> None:
    bundles.write(tmp_path / "b", {"m": decoder(form, RULES)})
    x = inputs(12, seed=5)
    tokens, lengths = greedy(x, RULES)
    with Session.open(tmp_path / "b") as session:
        found = session.run({"x": x})
    np.testing.assert_array_equal(found["tokens"], tokens)
    np.testing.assert_array_equal(found["lengths"], lengths)


@pytest.mark.parametrize("form", FORMS)
def test_nan_in_the_logits_is_a_run_error(sessions: dict[str, Session], form: Form) -> None:
    x = inputs(3)
    x[1] = np.nan
    with pytest.raises(RunError, match=r"row 1 of the batch: the logits are NaN"):
        sessions[form].run({"x": x})


def test_a_first_function_replaces_the_step_once(tmp_path: Path) -> None:
    """`first` takes no slots: it makes them, from the start token at position 0."""
    model = decoder("summed")
    step = model.functions["step"]
    signature = Signature(
        inputs=tuple(s for s in step.signature.inputs if s.name not in ("past", "position")),
        outputs=step.signature.outputs,
    )
    nodes = [
        helper.make_node("Constant", [], ["position"], value_int=0),
        helper.make_node("Constant", [], ["past"], value_float=0.0),
        *step.nodes,
    ]
    first = Graph(nodes, signature, step.weights)
    schedule = model.schedule.model_copy(update={"first": "first"})
    bundles.write(tmp_path / "b", {"m": Model(schedule, model.signature, {**model.functions, "first": first})})
    x = inputs(6)
    with Session.open(tmp_path / "b") as session:
        answer = session.answer({"x": x})
    np.testing.assert_array_equal(answer.outputs["tokens"], greedy(x)[0])
    assert answer.calls == {"encoder": 1, "first": 1, "step": answer.outputs["tokens"].shape[1] - 1}


def test_a_slot_can_start_as_an_encoder_output(tmp_path: Path) -> None:
    """memory is handed on as a slot, and no other way: what the step gets is what the step before gave."""
    model = decoder("summed")
    step = model.functions["step"]
    renamed = spec("memory_now", DType.FLOAT32, "batch", 1, decoders.VOCABULARY)
    signature = Signature(
        inputs=tuple(renamed if s.name == "memory" else s for s in step.signature.inputs),
        outputs=(*step.signature.outputs, spec("memory_next", DType.FLOAT32, "batch", 1, decoders.VOCABULARY)),
    )
    nodes = [
        helper.make_node("Identity", ["memory_now"], ["memory"]),
        helper.make_node("Identity", ["memory_now"], ["memory_next"]),
        *step.nodes,
    ]
    slot = CacheSlot(input="memory_now", output="memory_next", axis=None, batch_axis=0, init="encoder:memory")
    assert isinstance(model.schedule, Decode)
    schedule = model.schedule.model_copy(update={"slots": (*model.schedule.slots, slot)})
    functions = {**model.functions, "step": Graph(nodes, signature, step.weights)}
    bundles.write(tmp_path / "b", {"m": Model(schedule, model.signature, functions)})
    x = inputs(6)
    with Session.open(tmp_path / "b") as session:
        np.testing.assert_array_equal(session.run({"x": x})["tokens"], greedy(x)[0])


@pytest.mark.parametrize(
    ("model", "given", "rows"),
    [
        (counting(), {}, 1),
        (counting(batch=2), {}, 2),
        (counting(tokens=DType.INT32), {}, 1),
        (counting(state="padded"), {}, 1),
        (counting(extra=(spec("bias", DType.FLOAT32, "batch", 2),)), {"bias": np.zeros((3, 2), np.float32)}, 3),
        (counting(extra=(spec("bias", DType.FLOAT32, 2, "batch"),)), {"bias": np.zeros((2, 4), np.float32)}, 4),
        (counting(extra=(spec("bias", DType.FLOAT32, "rows"),)), {"bias": np.zeros(5, np.float32)}, 5),
        (counting(extra=(spec("scale", DType.FLOAT32),)), {"scale": np.float32(1)}, 1),
        (counting(extra=(spec("at", DType.INT64),), position="at"), {}, 1),
        (counting(extra=(spec("at", DType.INT64, "batch"),), position="at"), {}, 1),
    ],
)
def test_the_batch_comes_from_the_inputs(tmp_path: Path, model: Model, given: dict[str, Array], rows: int) -> None:
    bundles.write(tmp_path / "b", {"m": model})
    with Session.open(tmp_path / "b") as session:
        assert {s.name for s in session.signature.inputs} == given.keys()
        found = session.run(given)
    assert found["tokens"].tolist() == [[4, 5, 6, 7]] * rows
    assert found["lengths"].tolist() == [4] * rows


def test_what_is_not_yet_generated_is_padded(tmp_path: Path) -> None:
    """The scores choose the number of pad tokens, of which there is one less in every step."""
    model = counting(state="padded")
    nodes = [
        helper.make_node("Constant", [], ["pad"], value_int=COUNTING.pad),
        helper.make_node("Equal", ["tokens", "pad"], ["is_pad"]),
        helper.make_node("Cast", ["is_pad"], ["ones"], to=7),
        helper.make_node("Constant", [], ["axes"], value_ints=[1]),
        helper.make_node("ReduceSum", ["ones", "axes"], ["count"], keepdims=1),
        helper.make_node("Shape", ["tokens"], ["shape"]),
        helper.make_node("Expand", ["count", "shape"], ["next"]),
        *model.functions["step"].nodes[3:],
    ]
    bundles.write(
        tmp_path / "b", {"m": Model(model.schedule, model.signature, {"step": Graph(nodes, model.signature)})}
    )
    with Session.open(tmp_path / "b") as session:
        assert session.run({})["tokens"].tolist() == [[5, 4, 3, 2, 1, 0]]


def test_logits_of_another_shape_are_a_run_error(tmp_path: Path) -> None:
    model = counting()
    nodes = [*model.functions["step"].nodes[:-1]]
    nodes.append(helper.make_node("OneHot", ["next", "depth", "values"], ["flat"]))
    nodes += [
        helper.make_node("Constant", [], ["zero"], value_ints=[0]),
        helper.make_node("Slice", ["flat", "zero", "zero", "zero"], ["logits"]),
    ]
    step = Graph(nodes, model.signature)
    bundles.write(tmp_path / "b", {"m": Model(model.schedule, model.signature, {"step": step})})
    with Session.open(tmp_path / "b") as session, pytest.raises(RunError, match=r"logits: has the shape \(0, 1, 9\)"):
        session.run({})


SLOT = CacheSlot(input="past", output="present", axis=1, batch_axis=0, init="empty")


def test_a_schedule_that_does_not_fit_its_functions_tells_everything(tmp_path: Path) -> None:
    slots = (SLOT, SLOT.model_copy(update={"input": "other", "init": "encoder:state"}))
    model = counting(tokens=DType.INT64, state="cached", slots=slots, position="at", logits="scores")
    schedule = model.schedule.model_copy(update={"tokens": "ids"})
    bundles.write(tmp_path / "b", {"m": Model(schedule, model.signature, model.functions)})
    with pytest.raises(BundleError) as caught:
        Session.open(tmp_path / "b")
    assert {problem.subject for problem in caught.value.problems} == {
        "ids", "scores", "past", "other", "present", "at",
    }  # fmt: skip


def test_a_padded_step_with_too_little_room_is_refused(tmp_path: Path) -> None:
    model = decoder("padded", GENERATION.model_copy(update={"max_new_tokens": MAX_NEW_TOKENS + 1}))
    bundles.write(tmp_path / "b", {"m": model})
    with pytest.raises(BundleError, match="has room for 12 tokens"):
        Session.open(tmp_path / "b")


def test_a_slot_whose_size_nothing_tells_is_a_run_error(tmp_path: Path) -> None:
    model = decoder("growing")
    assert isinstance(model.schedule, Decode)
    slot = model.schedule.slots[0].model_copy(update={"init": "zeros"})
    schedule = model.schedule.model_copy(update={"slots": (slot,)})
    bundles.write(tmp_path / "b", {"m": Model(schedule, model.signature, model.functions)})
    with Session.open(tmp_path / "b") as session, pytest.raises(RunError, match="how large 'p' is"):
        session.run({"x": inputs(2)})


class Elsewhere:
    """A runner whose buffers are its own: it stands for an engine of another kind, on a device."""

    kind = "elsewhere"

    def __init__(self, inner: EngineRunner) -> None:
        self._inner = inner
        self.uploads: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def upload(self, spec: Any, array: Array) -> Any:
        self.uploads.append(spec.name)
        return self._inner.upload(spec, array)


def test_buffers_stay_where_they_are_unless_kinds_differ(decoder_bundle: Bundle) -> None:
    manifest = decoder_bundle.manifest
    x = np.repeat(inputs(1), 4, axis=0)  # rows that end together: none is dropped on the way
    for wrap_encoder in (False, True):
        runners: dict[str, Any] = {
            function: open_engine(decoder_bundle.root, manifest.engines[f"growing-{function}"])
            for function in ("encoder", "step")
        }
        step = runners["step"] = Elsewhere(runners["step"])
        if wrap_encoder:
            runners["encoder"] = Elsewhere(runners["encoder"])
        schedule = manifest.models["growing"].schedule
        assert isinstance(schedule, Decode)
        decode = HostDecoder(schedule, runners, decoders.SOURCE)
        tokens, _ = greedy(x)
        answer = decode.run({"x": x})
        np.testing.assert_array_equal(answer.outputs["tokens"], tokens)
        assert answer.calls == {"encoder": 1, "step": tokens.shape[1]}
        # The encoder's output crosses once if kinds differ; the cache never does.
        assert step.uploads.count("memory") == (0 if wrap_encoder else 1)
        assert step.uploads.count("past") == 0
        assert step.uploads.count("tokens") == tokens.shape[1]


BEAMS = Beams(width=3, length_penalty=1.5, early_stopping=True)


def searched(x: Array, beams: Beams) -> dict[str, Array]:
    """Beams over scores that are computed from whole prefixes: no row order, no slots."""
    rows = BeamSearch(GENERATION, beams, len(x))
    memory = np.repeat(x @ decoders.ENCODE, beams.width, axis=0)
    while not rows.finished:
        fed = rows.fed
        state = (decoders.EMBED[fed] + decoders.PLACE[: fed.shape[1]]).sum(axis=1)
        rows.append(state @ decoders.HEAD + memory)
    return rows.result()


@pytest.mark.parametrize("form", FORMS)
def test_beams_follow_their_slots(decoder_bundle: Bundle, form: Form) -> None:
    x = inputs(5, seed=3)
    expected = searched(x, BEAMS)
    assert expected["tokens"].tolist() != greedy(x)[0].tolist()
    with Session.of(decoder_bundle, form, beams=BEAMS) as session:
        assert [output.name for output in session.signature.outputs] == ["tokens", "lengths", "scores"]
        found = session.run({"x": x})
    np.testing.assert_array_equal(found["tokens"], expected["tokens"])
    np.testing.assert_array_equal(found["lengths"], expected["lengths"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)


def test_a_bundle_may_ask_for_beams_and_a_session_for_others(tmp_path: Path) -> None:
    x = inputs(4, seed=6)
    bundles.write(tmp_path / "b", {"m": decoder("growing", GENERATION.with_beams(BEAMS))})
    for asked, beams in ((None, BEAMS), (5, BEAMS.model_copy(update={"width": 5})), (Beams(width=2), Beams(width=2))):
        with Session.open(tmp_path / "b", beams=asked) as session:
            np.testing.assert_array_equal(session.run({"x": x})["tokens"], searched(x, beams)["tokens"])
    with Session.open(tmp_path / "b", beams=1) as session:
        found = session.run({"x": x})
        np.testing.assert_array_equal(found["tokens"], greedy(x)[0])
        assert sorted(found) == ["lengths", "tokens"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (counting(control=Engine()), "chooses tokens inside its engine"),
        (Model(Single(function="step"), counting().signature, counting().functions), "generates nothing"),
        (counting(batch=2), "fixed number of rows"),
    ],
)
def test_what_cannot_follow_beams_says_so(tmp_path: Path, model: Model, message: str) -> None:
    bundles.write(tmp_path / "b", {"m": model})
    with pytest.raises(RunError, match=message), Session.open(tmp_path / "b", beams=2) as session:
        session.run({})
