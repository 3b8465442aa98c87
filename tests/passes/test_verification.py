from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from artifacts.checks import Tolerances
from artifacts.samples import Sample
from artifacts.schedule import Single
from passes.program import Model, Program
from passes.verification import check_program, first_moved_node
from tests.support.decoder_programs import FORMS, LENGTH, Form, decoder_program
from tests.support.programs import PROGRAMS, Array, bare, parsed

TABLE = Tolerances()


@pytest.mark.parametrize("name", PROGRAMS)
def test_conversion_keeps_the_outputs_of_every_sample(name: str) -> None:
    program = PROGRAMS[name]()
    checks = check_program(program, TABLE)
    expected = [
        (model, number, spec.name)
        for model, entry in program.models.items()
        for number in range(len(entry.samples))
        for spec in entry.signature.outputs
    ]
    assert [(check.model, check.sample, check.output) for check in checks] == expected
    assert all(check.comparison.passed for check in checks)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_decoder_gives_the_reference(form: Form) -> None:
    checks = check_program(decoder_program(form), TABLE)
    assert [(c.sample, c.output) for c in checks] == [(0, "logits"), (0, "tokens"), (0, "lengths"), (1, "logits")]
    assert all(check.comparison.passed for check in checks)


@pytest.mark.parametrize("position", range(LENGTH))
@pytest.mark.parametrize("form", ["recompute", "cached"])
def test_scores_are_compared_at_every_position_or_with_a_cache_at_0_1_2_and_the_last(form: Form, position: int) -> None:
    program = decoder_program(form)
    wrong = program.models["decoder"].samples[1].outputs["logits"].copy()
    wrong[:, position] += 1.0
    failed = [check for check in check_program(with_outputs(program, wrong), TABLE) if not check.comparison.passed]
    compared = range(LENGTH) if form == "recompute" else (0, 1, 2, LENGTH - 1)
    assert [check.output for check in failed] == (["logits"] if position in compared else [])


def test_decoded_tokens_must_be_the_same() -> None:
    program = decoder_program("cached")
    model = program.models["decoder"]
    tokens = model.samples[0].decoded["tokens"].copy()
    tokens[0, -1] += 1
    first = replace(model.samples[0], decoded={**model.samples[0].decoded, "tokens": tokens})
    changed = replace(program, models={"decoder": replace(model, samples=(first,))})
    assert [check.output for check in check_program(changed, TABLE) if not check.comparison.passed] == ["tokens"]


def test_integers_must_be_equal_whatever_the_tolerance() -> None:
    program = PROGRAMS["shape_arithmetic"]()
    model = program.models["main"]
    sizes = model.samples[0].outputs["sizes"] + 1
    changed = replace(model.samples[0], outputs={**model.samples[0].outputs, "sizes": sizes})
    checks = check_program(replace(program, models={"main": replace(model, samples=(changed,))}), Tolerances.of(9, 9))
    assert [check.output for check in checks if not check.comparison.passed] == ["sizes"]


def test_no_node_is_named_where_none_moved() -> None:
    program = PROGRAMS["attention"]()
    assert first_moved_node(program, program, "main", program.models["main"].samples[0], TABLE) == ""


def test_nodes_are_compared_by_the_tolerance_of_their_own_type() -> None:
    text = """
    g (float[n, 4] x) => (float[n, 4] y) {
        h = Cast <to = 16> (x)
        c = Constant <value = bfloat16[1] {CONSTANT}> ()
        s = Add (h, c)
        w = Cast <to = 1> (s)
        y = Mul (w, hundred)
    }
    """
    sample = Sample({"x": np.full((3, 4), 0.5, np.float32)}, {})
    weight = {"hundred": np.full(1, 100, np.float32)}
    one, next_after_one = (
        bare(parsed(text.replace("CONSTANT", b), **weight), sample.inputs) for b in ("16256", "16257")
    )
    signature = one.functions["main"].signature
    before = replace(one, models={"main": Model(signature, Single(function="main"), "0" * 64, (sample,))})
    after = replace(next_after_one, models=before.models)
    where = first_moved_node(before, after, "main", sample, TABLE)
    assert where.endswith("(source node 'Cast:w')"), "the sum is right for a bfloat16, and wrong for a float32"


def with_outputs(program: Program, logits: Array) -> Program:
    model = program.models["decoder"]
    sample = Sample(model.samples[1].inputs, {"logits": logits})
    return replace(program, models={"decoder": replace(model, samples=(sample,))})
