from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from artifacts.samples import Sample, read_arrays
from artifacts.schedule import Decode, Engine, Generation, Host
from compiler.options import ModelFile
from compiler.parts.opening import opened_source
from passes.cost import is_instruction
from passes.decode import Stepper
from passes.decode_cost import decode_cost, decode_costs
from passes.derive_kv_cache import DeriveKvCache
from passes.dialect import TWO_STAGE_CHOICE
from passes.dialect.choice import two_stage_choice
from passes.onnx_to_torch.convert import convert
from passes.program import Model, Program
from passes.split_encoder_decoder import SplitEncoderDecoder
from passes.two_stage_head import TwoStageHead
from tests.passes.test_tabulate_positions import tabulated
from tests.support.decoder_modules import converted_decoder
from tests.support.decoder_programs import (
    FORMS,
    LENGTH,
    VOCABULARY,
    WIDTH,
    Form,
    controlled,
    decoder_program,
    decoder_sample,
)
from tests.support.models import DATA
from tests.support.programs import Array


def schedule_of(program: Program, model: str = "decoder") -> Decode:
    schedule = program.models[model].schedule
    assert isinstance(schedule, Decode)
    return schedule


def request() -> dict[str, Array]:
    return {name: array[:1] for name, array in decoder_sample(2).inputs.items()}


@pytest.mark.parametrize("form", FORMS)
def test_the_sum_over_positions_is_what_a_decode_counts(form: Form) -> None:
    """Every call of the decode is run in the interpreter and counted as it happens."""
    program, inputs = decoder_program(form), request()
    schedule = schedule_of(program)
    instructions = 0

    def observe(node: torch.fx.Node, value: object) -> None:
        nonlocal instructions
        instructions += is_instruction(node, value)

    with FlopCounterMode(display=False) as counter:
        stepper = Stepper(program, schedule, inputs, watch=lambda _: observe)
        for position in range(LENGTH):
            stepper.scores(np.ones((1, position + 1), np.int64))
    cost = decode_cost(program, "decoder", schedule, inputs)
    assert (cost.total.flops, cost.total.instructions) == (counter.get_total_flops(), instructions)
    assert cost.encoder.flops == (0 if schedule.encoder is None else 2 * 4 * VOCABULARY)
    assert cost.tokens == LENGTH


def test_padded_costs_the_longest_step_every_time_and_a_cache_one_row() -> None:
    """Products of a step over n rows that looks back on m: scores and their product with h, and the head."""

    def products(rows: int, back: int) -> int:
        return 2 * rows * back * WIDTH * 2 + 2 * rows * WIDTH * VOCABULARY

    costs = {
        form: decode_cost(decoder_program(form), "decoder", schedule_of(decoder_program(form)), request()).steps
        for form in FORMS
    }
    assert costs["padded"].flops == LENGTH * products(LENGTH, LENGTH)
    assert costs["recompute"].flops == sum(products(n, n) for n in range(1, LENGTH + 1))
    assert costs["cached"].flops == sum(products(1, n) for n in range(1, LENGTH + 1))
    assert costs["recompute"].cache_bytes == 0
    assert costs["cached"].cache_bytes == sum(4 * WIDTH * (n + 1) for n in range(LENGTH))


def test_sizes_that_only_the_encoder_s_inputs_tell_are_known_to_the_steps() -> None:
    whole = converted_decoder("every other")
    split = SplitEncoderDecoder()(whole).program
    padded, exact, cached = decode_costs(split, DeriveKvCache()(split).program)
    rows, width, heads = -(-padded.inputs["source"][1] // 2), 8, 2  # rows of the source that are looked at
    attention = 2 * 2 * rows * heads * (width // heads)  # scores and what they weigh, a token
    assert [cost.encoder.flops for cost in (padded, exact, cached)] == [2 * 2 * rows * width * width] * 3
    positions = range(1, cached.tokens + 1)
    projections = 10 * 2 * width * width + 2 * width * 13  # q, k, v, o of two layers; q and o across; the head
    assert cached.steps.flops == sum(projections + attention + 2 * 2 * 2 * n * width for n in positions)


def test_every_form_that_a_model_could_have_is_told_once() -> None:
    whole, cached = decoder_program("recompute"), decoder_program("cached")
    found = decode_costs(whole, cached)
    assert [cost.state for cost in found] == ["padded", "recompute", "cached"]
    assert [cost.steps.flops for cost in found] == sorted((cost.steps.flops for cost in found), reverse=True)
    assert found[0].inputs == {"x": (1, 4)}
    assert decode_costs(whole, whole) == found[:2]
    assert decode_costs(replace(whole, models={})) == ()


def test_a_derived_step_of_a_real_model_counts_what_a_run_of_it_counts() -> None:
    program, inputs = derived_from_marian()
    schedule = schedule_of(program, "marian")
    assert schedule.state == "cached"
    with FlopCounterMode(display=False) as counter:
        stepper = Stepper(program, schedule, inputs)
        encoder = counter.get_total_flops()
        for position in range(schedule.generation.max_new_tokens):
            stepper.scores(np.ones((1, position + 1), np.int64))
    cost = decode_cost(program, "marian", schedule, inputs)
    assert cost.encoder.flops == encoder > 0
    assert cost.total.flops == counter.get_total_flops() > encoder


def test_a_head_in_two_stages_counts_the_choice_and_not_the_scores() -> None:
    """The choice is run and counted by its kernel; the step by itself less its last product and its bias."""
    whole = controlled(tabulated("attention").program, Engine())
    split = TwoStageHead(least_bytes=0)(whole).program
    inputs = {name: array[:1] for name, array in whole.models["decoder"].samples[0].inputs.items()}
    before = decode_cost(whole, "decoder", schedule_of(whole), inputs)
    schedule = schedule_of(split)
    after = decode_cost(split, "decoder", schedule, inputs)
    assert schedule.choice is not None
    function = split.functions[schedule.choice]
    (node,) = (n for n in function.computations if n.target is TWO_STAGE_CHOICE)
    held = {name: torch.from_numpy(split.weights.array(ref).copy()) for name, ref in function.weights.items()}
    operands = [held.get(str(argument)) for argument in node.args[2:-1]]
    candidates = node.args[-1]
    assert isinstance(candidates, int)
    hidden = torch.from_numpy(split.weights.array(function.weights["rows"])[:1, None].copy())
    with FlopCounterMode(display=False) as counter:
        _, full_product = two_stage_choice._init_fn(hidden, torch.zeros(1, 1, dtype=torch.bool), *operands, candidates)
    assert not full_product.item()
    tokens, size = function.weights["rows"].shape
    assert before.steps.flops - after.steps.flops == after.tokens * (2 * tokens * size - counter.get_total_flops())
    read = tokens * size + 4 * (candidates * (size + 1) + 4 * tokens + 2)  # codes; candidates; scales, bounds, ceilings
    # Of the rows the embedding, where it is the same matrix, reads one as before.
    assert before.steps.weight_bytes - after.steps.weight_bytes == after.tokens * (4 * tokens * (size + 1) - read)
    assert after.encoder == before.encoder
    assert decode_costs(whole, split) == (after,)


def derived_from_marian() -> tuple[Program, dict[str, Array]]:
    """Marian with an encoder apart and a cache, and a request of one row."""
    path = DATA / "marian_tiny" / "model.onnx"
    known = read_arrays(path.parent / "generate.npz")
    inputs = {name: known[name] for name in ("input_ids", "attention_mask")}
    inputs["decoder_input_ids"] = np.full((len(known["input_ids"]), 5), 7)
    with opened_source(ModelFile("marian", path)) as source:
        converted = convert(source, "marian", inputs)
    signature = converted.function.signature
    schedule = Decode(
        encoder=None,
        step="marian",
        tokens="decoder_input_ids",
        logits="logits",
        state="recompute",
        control=Host(),
        generation=Generation(start=199, eos=(0,), pad=199, max_new_tokens=12),
    )
    function = replace(converted.function, time=frozenset({str(signature.input("decoder_input_ids").shape[1])}))
    model = Model(signature, schedule, "0" * 64, (Sample(inputs, {}),))
    program = Program({"marian": function}, {"marian": model}, converted.weights)
    derived = DeriveKvCache()(SplitEncoderDecoder()(program).program).program
    return derived, {name: array[:1] for name, array in inputs.items()}
