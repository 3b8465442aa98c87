from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from artifacts.schedule import CacheSlot, Control, Decode, Engine, Generation, Host, Partitioned, Unrolled
from artifacts.spec import Signature
from passes.decode import Stepper, greedy, positions_to_check, teacher_forced
from passes.program import Function, Program
from tests.support.decoder_modules import schedule_of
from tests.support.decoder_programs import FORMS, GENERATION, LENGTH, Form, decoder_program, decoder_sample
from tests.support.programs import Array, converted, normal, parsed

EVERY = range(LENGTH)


def assert_close(actual: Array, expected: Array) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def scores_of(form: Form, batch: int = 2) -> Array:
    program, sample = decoder_program(form), decoder_sample(batch)
    return teacher_forced(program, schedule_of(program), sample.inputs, sample.inputs["tokens"], EVERY)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [1, 3])
def test_every_form_scores_every_position_alike(form: Form, batch: int) -> None:
    assert_close(scores_of(form, batch), decoder_sample(batch).outputs["logits"])


@pytest.mark.parametrize("form", FORMS)
def test_positions_come_in_order_whatever_order_they_are_asked_in(form: Form) -> None:
    program, sample = decoder_program(form), decoder_sample(2)
    some = teacher_forced(program, schedule_of(program), sample.inputs, sample.inputs["tokens"], [5, 2, 5])
    assert_close(some, sample.outputs["logits"][:, [2, 5]])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"max_new_tokens": 5},
        {"forced_first": 7},
        {"max_new_tokens": 4, "forced_last": 2},
        {"suppressed": (5, 9)},
        {"eos": (9, 3)},
    ],
    ids=str,
)
def test_every_form_decodes_the_same_tokens(form: Form, rules: dict[str, object]) -> None:
    generation = GENERATION.model_copy(update=rules)
    expected = reference_tokens(generation)
    program = decoder_program(form)
    schedule = schedule_of(program).model_copy(update={"generation": generation})
    result = greedy(program, schedule, decoder_sample(2).inputs, 2, LENGTH)
    assert result["tokens"].tolist() == expected["tokens"].tolist()
    assert result["lengths"].tolist() == expected["lengths"].tolist()


def reference_tokens(generation: Generation) -> dict[str, Array]:
    """Greedy decoding by the scores of all tokens so far, with the rules written out."""
    program = decoder_program("recompute")
    stepper = Stepper(program, schedule_of(program), decoder_sample(2).inputs)
    rows: list[list[int]] = []
    for row in range(2):
        made: list[int] = []
        while len(made) < generation.max_new_tokens and (not made or made[-1] not in generation.eos):
            fed = np.tile(np.array([generation.start, *made]), (2, 1))
            scores = stepper.scores(fed)[row].copy()
            scores[list(generation.suppressed)] = -np.inf
            token = int(scores.argmax())
            if not made and generation.forced_first is not None:
                token = generation.forced_first
            if len(made) + 1 == generation.max_new_tokens and generation.forced_last is not None:
                token = generation.forced_last
            made.append(token)
        rows.append(made)
    lengths = np.array([len(row) for row in rows])
    padded = [row + [generation.pad] * (max(lengths) - len(row)) for row in rows]
    return {"tokens": np.array(padded), "lengths": lengths}


@pytest.mark.parametrize("limit", [1, 3, 8, 20])
def test_a_limit_is_where_decoding_ends_and_not_where_the_last_token_is_forced(limit: int) -> None:
    program = decoder_program("cached")
    schedule = schedule_of(program)
    forced = schedule.model_copy(update={"generation": schedule.generation.model_copy(update={"forced_last": 4})})
    whole = greedy(program, schedule, decoder_sample(2).inputs, 2, LENGTH)["tokens"]
    result = greedy(program, forced, decoder_sample(2).inputs, 2, limit)["tokens"]
    width = min(limit, LENGTH)
    assert result.shape[1] == width
    assert result[0, -1] == (4 if width == LENGTH else whole[0, width - 1])
    assert result[0, :-1].tolist() == whole[0, : width - 1].tolist()


@pytest.mark.parametrize("control", [Host(), Engine(), Unrolled(), Partitioned(boundaries=(3, 8))], ids=repr)
def test_control_does_not_change_scores(control: Control) -> None:
    program = decoder_program("cached", control)
    sample = decoder_sample(2)
    scores = teacher_forced(program, schedule_of(program), sample.inputs, sample.inputs["tokens"], EVERY)
    assert np.array_equal(scores, scores_of("cached"))


@pytest.mark.parametrize(
    ("boundaries", "length", "expected"),
    [
        (None, 20, (0, 1, 2, 19)),
        (None, 2, (0, 1)),
        (None, 1, (0,)),
        (None, 50, (0, 1, 2, 29)),
        ((10, 20, 30), 30, (0, 1, 2, 9, 10, 11, 19, 20, 21, 29)),
        ((1, 30), 30, (0, 1, 2, 29)),
        ((10, 30), 11, (0, 1, 2, 9, 10)),
    ],
)
def test_positions_to_check(boundaries: tuple[int, ...] | None, length: int, expected: tuple[int, ...]) -> None:
    control = Host() if boundaries is None else Partitioned(boundaries=boundaries)
    schedule = Decode(
        encoder=None,
        step="step",
        tokens="tokens",
        logits="logits",
        state="recompute",
        control=control,
        generation=Generation(start=1, eos=(2,), pad=0, max_new_tokens=30),
    )
    assert positions_to_check(schedule, length) == expected


def test_a_padded_step_with_more_room_than_tokens_is_filled_up() -> None:
    program = decoder_program("padded")
    schedule = schedule_of(program).shortened(4)
    sample = decoder_sample(2)
    scores = teacher_forced(program, schedule, sample.inputs, sample.inputs["tokens"], range(4))
    assert_close(scores, sample.outputs["logits"][:, :4])


def test_tokens_travel_in_the_type_of_the_step() -> None:
    program = chain("int32[batch, t] tokens", "float[batch, t, 4] logits", np.eye(4, dtype=np.float32)[[1, 2, 3, 0]])
    assert greedy(program, chain_schedule(6), {}, 2, 6)["tokens"].tolist() == [[1, 2, 3], [1, 2, 3]]


def test_scores_of_a_low_precision_type_are_compared_as_numbers() -> None:
    """By their bits, every negative bfloat16 would be above every positive one."""
    table = np.array([[-9, 1, -8, -7], [-9, -8, 1, -7], [-9, -8, -7, 1], [0, 0, 0, 0]])
    program = chain("int64[batch, t] tokens", "bfloat16[batch, t, 4] logits", table.astype(ml_dtypes.bfloat16))
    assert greedy(program, chain_schedule(6), {}, 1, 6)["tokens"].tolist() == [[1, 2, 3]]


def chain(tokens: str, logits: str, table: Array) -> Program:
    """A decoder whose next token depends on the last one alone: the scores after token i are row i."""
    model = parsed(f"g ({tokens}) => ({logits}) {{ logits = Gather (table, tokens) }}", table=table)
    kind = np.int32 if "int32" in tokens else np.int64
    result = converted(model, {"tokens": np.zeros((2, 3), kind)}, "step")
    return Program({"step": result.function}, {}, result.weights)


def chain_schedule(limit: int) -> Decode:
    return Decode(
        encoder=None,
        step="step",
        tokens="tokens",
        logits="logits",
        state="recompute",
        control=Host(),
        generation=Generation(start=0, eos=(3,), pad=0, max_new_tokens=limit),
    )


def test_a_slot_whose_size_nothing_tells_is_an_error() -> None:
    text = """
    step (int64[batch, 1] tokens, float[batch, width] state) => (float[batch, 1, 3] logits, float[batch, width] next) {
        rows = Gather (table, tokens)
        axes = Constant <value_ints = [1]> ()
        total = ReduceSum <keepdims = 1> (state, axes)
        last = Unsqueeze (total, axes)
        logits = Add (rows, last)
        next = Neg (state)
    }
    """
    inputs = {"tokens": np.zeros((2, 1), np.int64), "state": normal(2, 5)}
    result = converted(parsed(text, table=normal(3, 3)), inputs, "step")
    slot = CacheSlot(input="state", output="next", axis=None, batch_axis=0, init="zeros")
    schedule = chain_schedule(3).model_copy(update={"state": "cached", "slots": (slot,)})
    program = Program({"step": result.function}, {}, result.weights)
    with pytest.raises(ValueError, match=r"nothing says how large \['width'\]"):
        greedy(program, schedule, {}, 2, 3)
    sized = replace(result.function, signature=with_size(result.function, 5))
    assert greedy(Program({"step": sized}, {}, result.weights), schedule, {}, 2, 3)["tokens"].shape[0] == 2


def with_size(function: Function, width: int) -> Signature:
    """The signature with the state's width known."""
    tokens, state = function.signature.inputs
    known = state.model_copy(update={"shape": (state.shape[0], width)})
    return function.signature.model_copy(update={"inputs": (tokens, known)})
