from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.samples import Arrays
from artifacts.schedule import Engine
from compiler.options import ScheduleName
from compiler.targets import find_target
from compiler.tuning.choose import Form
from compiler.tuning.costs import StepCost
from compiler.tuning.measure import Variants, step_cost, variants
from tests.support.decoder_programs import LENGTH, controlled, decoder_program

PARTS = st.sampled_from([0.0, 0.5, 2.0, 30.0])
POINTS = ((1, 16), (1, 32), (1, 64), (3, 64))
"""Calls, and steps in all of them."""


@given(PARTS, PARTS, PARTS, PARTS)
def test_times_tell_the_costs_that_they_come_from(encoder: float, call: float, step: float, growth: float) -> None:
    cost = StepCost(call=call, step=step, growth=growth / 100)
    points = [(calls, n, encoder + calls * call + cost.until(n)) for calls, n in POINTS]
    found = step_cost(points, encoder, True)
    assert found is not None
    assert found.model_dump() == pytest.approx(cost.model_dump(), abs=1e-6)


def test_no_cost_is_below_zero() -> None:
    found = step_cost([(1, 16, 9.0), (1, 32, 17.0), (1, 64, 31.0), (3, 64, 30.0)], 1.0, True)
    assert found is not None
    assert found.call == 0
    assert found.step > 0


def test_what_was_not_measured_has_no_cost() -> None:
    assert step_cost([], 1.0, True) is None


@pytest.fixture(scope="module")
def found() -> Iterator[Variants]:
    # A program of its own: torch.onnx translates one whose position becomes a number only once, and others use theirs.
    program = controlled(decoder_program.__wrapped__("cached"), Engine())
    with variants(program, "decoder", find_target("onnxruntime"), {}, 1) as opened:
        yield opened


@pytest.mark.parametrize("length", [1, 3, LENGTH])
@pytest.mark.parametrize("schedule", [ScheduleName.LOOP, ScheduleName.ENGINE_LOOP, ScheduleName.UNROLLED])
def test_a_session_decodes_as_many_tokens_as_it_is_told(found: Variants, schedule: ScheduleName, length: int) -> None:
    assert lengths_of(found, Form(schedule), length) == {length}


@pytest.mark.parametrize(("length", "boundary", "calls"), [(1, 2, 1), (2, 2, 1), (3, 5, 2), (LENGTH, LENGTH, 3)])
def test_partitions_run_to_the_boundary_behind_the_length(
    found: Variants, length: int, boundary: int, calls: int
) -> None:
    form = Form(ScheduleName.PARTITIONED, (2, 5, LENGTH))
    assert lengths_of(found, form, length) == {boundary}
    answer = found.session(form, length).answer(request_of(found))
    assert answer.calls["step"] == calls


def request_of(found: Variants) -> Arrays:
    return {"x": found.program.models["decoder"].samples[0].inputs["x"]}


def lengths_of(found: Variants, form: Form, length: int) -> set[int]:
    return set(found.session(form, length).run(request_of(found))["lengths"].tolist())
