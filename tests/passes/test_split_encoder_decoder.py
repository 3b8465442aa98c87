from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from artifacts.checks import Tolerances
from passes.contract import PassResult
from passes.interpreter import call
from passes.program import Model, Program
from passes.split_encoder_decoder import SplitEncoderDecoder
from passes.verification import check_program
from tests.support.decoder_modules import schedule_of
from tests.support.decoder_programs import EMBED, ENCODE, HEAD, decoder_program, decoder_sample
from tests.support.programs import answered, converted, normal, parsed


@cache
def split() -> PassResult:
    return SplitEncoderDecoder()(decoder_program("whole"))


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


_BRANCHING = """
g (int64[2, t] tokens, float[2, 4] x, bool given) => (float[2, t, 11] logits) {
    rows = Gather (embed, tokens)
    product = MatMul (x, encode)
    bias = If (given) <
        then_branch = then () => (float[11] a) { a = Exp (offset) },
        else_branch = otherwise () => (float[11] b) { b = Neg (offset) }
    >
    memory = Add (product, bias)
    axis = Constant <value_ints = [1]> ()
    wide = Unsqueeze (memory, axis)
    z = MatMul (rows, head)
    logits = Add (z, wide)
}
"""


@pytest.mark.parametrize("given", [True, False])
def test_branches_of_the_encoder_go_with_it(given: bool) -> None:
    model = parsed(_BRANCHING, embed=EMBED, head=HEAD, encode=ENCODE, offset=normal(11))
    sample = decoder_sample(2)
    inputs = {"tokens": sample.inputs["tokens"], "x": sample.inputs["x"], "given": np.array(given)}
    found = converted(model, inputs, "step")
    schedule = schedule_of(decoder_program("whole"))
    entry = Model(found.function.signature, schedule, "0" * 64, (answered(model, inputs),))
    function = replace(found.function, time=frozenset({"t"}))
    program = SplitEncoderDecoder()(Program({"step": function}, {"decoder": entry}, found.weights)).program
    assert schedule_of(program).functions == ("step.encoder", "step.step")
    assert [check for check in check_program(program, Tolerances()) if not check.comparison.passed] == []
