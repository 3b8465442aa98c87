from __future__ import annotations

from functools import cache

import pytest

from artifacts.checks import Tolerances
from artifacts.errors import PassError
from artifacts.schedule import CacheSlot, Decode, Draft, Engine, Host
from passes.contract import PassResult
from passes.decode import greedy
from passes.derive_kv_cache import DeriveKvCache
from passes.program import Program
from passes.split_encoder_decoder import SplitEncoderDecoder
from passes.verification import check_program
from tests.support.decoder_modules import LONGEST, MODULES, converted_decoder
from tests.support.decoder_programs import controlled, decoder_program
from tests.support.drafts import with_noisy_window, with_window

each_decoder = pytest.mark.parametrize("name", MODULES)


@cache
def derived(name: str) -> PassResult:
    return DeriveKvCache()(SplitEncoderDecoder()(converted_decoder(name)).program)


def schedule_of(program: Program) -> Decode:
    (model,) = program.models.values()
    assert isinstance(model.schedule, Decode)
    return model.schedule


@each_decoder
def test_a_step_with_a_cache_gives_the_scores_that_the_whole_decoder_gives(name: str) -> None:
    program = derived(name).program
    assert schedule_of(program).state == "cached", derived(name).notes
    checks = check_program(program, Tolerances())
    assert [check for check in checks if not check.comparison.passed] == []


@each_decoder
def test_it_decodes_the_same_tokens_to_the_last_position(name: str) -> None:
    whole, cached = converted_decoder(name), derived(name).program
    sample = whole.models["decoder"].samples[0]
    expected, actual = (greedy(p, schedule_of(p), sample.inputs, 2, LONGEST) for p in (whole, cached))
    assert actual["tokens"].tolist() == expected["tokens"].tolist()


SLOTS = {
    "attention": 4,
    "every other": 4,
    "keys first": 4,
    "grouped": 4,
    "repeated": 4,
    "thinned": 4,
    "rotary": 4,
    "packed": 4,
    "sdpa": 4,
    "own softmax": 4,
    "range mask": 4,
    "padding mask": 6,  # and the mask itself, and what positions are counted from
    "relative": 4,
    "gru": 1,
    "gru that looks back": 2,  # the state, and the outputs, which are keys and values
}


@each_decoder
def test_there_is_a_slot_for_what_is_needed_of_earlier_positions_and_for_nothing_else(name: str) -> None:
    assert len(schedule_of(derived(name).program).slots) == SLOTS[name]


def test_keys_and_values_lie_as_rows_of_heads() -> None:
    program = derived("attention").program
    step = program.functions[schedule_of(program).step].signature
    assert {str(step.input(slot.input)) for slot in schedule_of(program).slots} == {
        f"past_{i}: float32[batch, 2, past, 4]" for i in range(4)
    }
    assert {(slot.axis, slot.batch_axis, slot.init) for slot in schedule_of(program).slots} == {(2, 0, "empty")}


@pytest.mark.parametrize("name", ["grouped", "repeated"])
def test_shared_heads_are_kept_once(name: str) -> None:
    program = derived(name).program
    step = program.functions[schedule_of(program).step].signature
    assert all(step.input(slot.input).shape[1] == 1 for slot in schedule_of(program).slots)


def test_a_recurrence_goes_on_from_its_state_which_the_encoder_starts() -> None:
    schedule = schedule_of(derived("gru").program)
    assert schedule.slots == (
        CacheSlot(input="past_0", output="present_0", axis=None, batch_axis=1, init="encoder:memory_0"),
    )


def test_no_position_but_the_last_is_computed() -> None:
    program = derived("attention").program
    step = program.functions[schedule_of(program).step]
    longest = [n.name for n in step.computations if str(n.meta["val"]).count("past") > 1]
    assert longest == []
    assert step.signature.output("logits").shape[:2] == ("batch", 1)


def test_a_decoder_that_sees_later_tokens_has_no_cache_and_the_node_is_named() -> None:
    program = SplitEncoderDecoder()(converted_decoder("bidirectional")).program
    result = DeriveKvCache()(program)
    assert not result.modified
    (notice,) = result.notices
    assert notice.startswith("decoder: no cache: node 'matmul_1'")
    assert "changes at earlier positions when tokens are appended; every step computes all positions" in notice


def test_no_cache_is_an_error_if_one_is_required() -> None:
    program = SplitEncoderDecoder()(converted_decoder("bidirectional")).program
    with pytest.raises(PassError, match=r"no cache: node 'matmul_1'.* changes at earlier positions") as caught:
        DeriveKvCache(required=True)(program)
    assert caught.value.problems[0].hint == "use --cache off, or --cache auto"


def test_a_decoder_written_in_onnx_has_one_slot_for_keys_that_are_values_too() -> None:
    result = DeriveKvCache()(decoder_program("recompute"))
    assert result.notes == ("decoder: slots: 1",)


def test_a_step_with_a_cache_stays() -> None:
    result = DeriveKvCache()(decoder_program("cached"))
    assert not result.modified
    assert result.notes == ()


GOES_BACK = [name for name in MODULES if "gru" not in name]


@pytest.mark.parametrize("name", GOES_BACK)
@pytest.mark.parametrize("count", [1, 3])
def test_a_window_gives_the_scores_after_each_of_its_tokens(name: str, count: int) -> None:
    program = with_window(name, count)
    schedule = schedule_of(program)
    assert schedule.draft == Draft(step=schedule.step, window=f"{schedule.step}.window", count=count)
    step, window = (program.functions[called].signature for called in (schedule.step, schedule.draft.window))
    assert window.input(schedule.tokens).shape == ("batch", count + 1)
    assert [spec.name for spec in window.inputs] == [spec.name for spec in step.inputs]
    checks = check_program(program, Tolerances())
    assert len(checks) > len(check_program(derived(name).program, Tolerances()))
    assert [check for check in checks if not check.comparison.passed] == []


def test_a_window_that_is_not_exact_is_found() -> None:
    program = with_window("attention", 3)
    assert any(not check.comparison.passed for check in check_program(with_noisy_window(program, 0.01), Tolerances()))


def test_a_state_cannot_go_back_so_that_there_is_no_window() -> None:
    program = controlled(SplitEncoderDecoder()(converted_decoder("gru")).program, Engine())
    result = DeriveKvCache(draft=3, least_bytes=0)(program)
    assert schedule_of(result.program).draft is None
    (notice,) = result.notices
    assert (
        notice
        == "decoder: guesses no tokens: node 'gru' keeps its last state, which cannot go back to an earlier token"
    )


@pytest.mark.parametrize("change", ["host", "small"])
def test_only_a_large_decoder_in_an_engine_that_loops_has_a_window(change: str) -> None:
    program = SplitEncoderDecoder()(converted_decoder("attention")).program
    step = DeriveKvCache(draft=3) if change == "small" else DeriveKvCache(draft=3, least_bytes=0)
    control = Engine() if change == "small" else Host()
    assert schedule_of(step(controlled(program, control)).program).draft is None
