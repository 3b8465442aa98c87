from __future__ import annotations

from functools import cache

import numpy as np

from artifacts.schedule import Decode
from passes.contract import PassResult
from passes.interpreter import call
from passes.program import Program
from passes.split_encoder_decoder import SplitEncoderDecoder
from tests.support.decoder_programs import ENCODE, decoder_program, decoder_sample


@cache
def split() -> PassResult:
    return SplitEncoderDecoder()(decoder_program("whole"))


def schedule_of(program: Program) -> Decode:
    schedule = program.models["decoder"].schedule
    assert isinstance(schedule, Decode)
    return schedule


def test_the_encoder_holds_what_tokens_do_not_change() -> None:
    program = split().program
    assert schedule_of(program).functions == ("step.encoder", "step.step")
    encoder = program.functions["step.encoder"].signature
    assert str(encoder) == "(x: float32[batch, 4]) -> (memory_0: float32[batch, 1, 11])"
    sample = decoder_sample(2)
    np.testing.assert_allclose(
        call(program, "step.encoder", sample.inputs)["memory_0"][:, 0].astype(np.float32),
        sample.inputs["x"] @ ENCODE,
        rtol=1e-5,
    )


def test_the_step_takes_the_tokens_and_what_the_encoder_made() -> None:
    step = split().program.functions["step.step"]
    assert [spec.name for spec in step.signature.inputs] == ["tokens", "memory_0"]
    assert [spec.name for spec in step.signature.outputs] == ["logits"]
    assert step.time == {"t"}


def test_no_weight_is_in_both_parts_and_none_is_lost() -> None:
    before, after = decoder_program("whole"), split().program
    parts = [{ref.digest for ref in f.weights.values()} for f in after.functions.values()]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] >= {ref.digest for ref in before.functions["step"].weights.values() if ref.nbytes > 8}


def test_a_decoder_that_is_split_already_stays() -> None:
    assert not SplitEncoderDecoder()(decoder_program("recompute")).modified


def test_the_note_counts_what_is_computed_once_and_in_every_step() -> None:
    (note,) = split().notes
    assert note.startswith("decoder: nodes computed once: 2, in every step: ")
