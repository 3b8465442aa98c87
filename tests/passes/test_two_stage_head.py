from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from artifacts.checks import Tolerances
from artifacts.schedule import Control, Engine, Host, Partitioned, Unrolled
from passes.bodies import copied_graph, edited
from passes.contract import PassResult
from passes.decode import greedy
from passes.dialect import TWO_STAGE_CHOICE
from passes.program import Function, Program
from passes.two_stage_head import TwoStageHead
from passes.verification import check_program
from tests.passes.test_tabulate_positions import tabulated
from tests.support.composed import composed_of
from tests.support.decoder_modules import LONGEST, VOCABULARY, WIDTH, converted_decoder, schedule_of
from tests.support.decoder_programs import controlled, decoder_program

aten = torch.ops.aten


def looped(**rules: object) -> Program:
    return controlled(tabulated("attention").program, Engine(), **rules)


@cache
def in_two_stages() -> PassResult:
    return TwoStageHead(least_bytes=0)(looped())


def product_of(function: Function) -> torch.fx.Node:
    return next(node for node in reversed(list(function.computations)) if node.target is aten.linear.default)


def test_a_function_chooses_from_the_hidden_state_that_the_step_gives_as_well() -> None:
    program = in_two_stages().program
    schedule = schedule_of(program)
    assert schedule.choice == "decoder.choice"
    choice, step = program.functions["decoder.choice"], program.functions[schedule.step]
    assert next(choice.computations).target is TWO_STAGE_CHOICE
    (hidden, ended), (token, full) = choice.signature.inputs, choice.signature.outputs
    assert hidden == step.signature.outputs[-1]
    assert (hidden.shape, ended.shape, token.shape, full.shape) == (
        ("batch", 1, WIDTH),
        ("batch", 1),
        ("batch", 1),
        (),
    )
    assert in_two_stages().notes == (f"decoder: its head of {4 * VOCABULARY * WIDTH} bytes chooses in two stages",)


def test_the_scores_stay_what_they_were() -> None:
    assert all(check.comparison.passed for check in check_program(in_two_stages().program, Tolerances()))


def test_the_rows_of_the_head_are_stored_once() -> None:
    program = in_two_stages().program
    schedule = schedule_of(program)
    matrix = product_of(program.functions[schedule.step]).args[1]
    assert isinstance(matrix, torch.fx.Node)
    rows = program.functions["decoder.choice"].weights["rows"]
    assert program.functions[schedule.step].weights[matrix.name] == rows


def _rewritten(program: Program, change: Callable[[torch.fx.Graph, torch.fx.Node], None]) -> Program:
    """The program with the head of its step written in another way."""
    step = program.functions[schedule_of(program).step]
    graph, new = copied_graph(step.body)
    change(graph, new[product_of(step)])
    graph.eliminate_dead_code()
    return program.with_functions({step.name: replace(step, body=edited(step.body, graph))})


def _called(graph: torch.fx.Graph, before: torch.fx.Node, target: Any, *args: Any) -> torch.fx.Node:
    with graph.inserting_before(before):
        node = graph.call_function(target, args)
    with before.meta["val"].fake_mode:
        node.meta["val"] = target(*torch.fx.map_arg(args, lambda n: n.meta["val"]))
    return node


def _as_product_and_sum(graph: torch.fx.Graph, linear: torch.fx.Node) -> None:
    hidden, rows, bias = linear.args
    turned = _called(graph, linear, aten.permute.default, rows, [1, 0])
    product = _called(graph, linear, aten.matmul.default, hidden, turned)
    linear.replace_all_uses_with(_called(graph, linear, aten.add.Tensor, bias, product))


def _in_two_dimensions(graph: torch.fx.Graph, linear: torch.fx.Node) -> None:
    hidden, rows, bias = linear.args
    flat = _called(graph, linear, aten.view.default, hidden, [-1, WIDTH])
    turned = _called(graph, linear, aten.t.default, rows)
    product = _called(graph, linear, aten.addmm.default, bias, flat, turned)
    linear.replace_all_uses_with(_called(graph, linear, aten.unsqueeze.default, product, 1))


FORMS = {"product and sum": _as_product_and_sum, "two dimensions": _in_two_dimensions}


def tokens_of(program: Program, batch: int = 3) -> list[list[int]]:
    schedule, sample = schedule_of(program), converted_decoder("attention").models["decoder"].samples[2]
    found: list[list[int]] = greedy(program, schedule, sample.inputs, batch, LONGEST)["tokens"].tolist()
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_head_is_found_however_it_is_written(form: str) -> None:
    program = TwoStageHead(least_bytes=0)(_rewritten(looped(), FORMS[form])).program
    assert schedule_of(program).choice is not None
    assert all(check.comparison.passed for check in check_program(program, Tolerances()))


def _scaled(graph: torch.fx.Graph, linear: torch.fx.Node) -> None:
    product = _called(graph, linear, aten.linear.default, *linear.args)
    linear.replace_all_uses_with(_called(graph, linear, aten.mul.Tensor, product, 2.0))


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (lambda: controlled(looped(), Host()), False),
        (lambda: controlled(decoder_program("recompute"), Engine()), False),
        (lambda: controlled(decoder_program("cached"), Engine()), True),
        (lambda: _rewritten(looped(), _scaled), True),
    ],
    ids=["the host chooses", "without a cache", "what is added is computed", "scaled afterwards"],
)
def test_what_is_not_that_stays_as_it_is(program: Callable[[], Program], told: bool) -> None:
    result = TwoStageHead(least_bytes=0)(program())
    assert not result.modified
    assert bool(result.notes) is told


def test_a_model_of_the_name_of_the_choice_keeps_its_function() -> None:
    program = looped()
    other = replace(program.functions[schedule_of(program).step], name="decoder.choice")
    result = TwoStageHead(least_bytes=0)(program.with_functions({other.name: other}))
    assert schedule_of(result.program).choice == "decoder.choice_1"
    assert result.program.functions["decoder.choice"] is other


def test_a_small_head_stays_as_it_is() -> None:
    assert not TwoStageHead()(looped()).modified


def test_weights_that_are_not_finite_stay_as_they_are() -> None:
    program = looped()
    step = program.functions[schedule_of(program).step]
    _, rows, _ = product_of(step).args
    assert isinstance(rows, torch.fx.Node)
    broken = program.weights.array(step.weights[rows.name]).copy()
    broken[0, 0] = np.nan
    store, ref = program.weights.with_tensor(broken)
    changed = program.with_functions({step.name: replace(step, weights={**step.weights, rows.name: ref})}, store)
    result = TwoStageHead(least_bytes=0)(changed)
    assert not result.modified
    assert "finite" in result.notes[0]


CONTROLS = (Engine(), Unrolled(), Partitioned(boundaries=(1, 5, LONGEST)))


@pytest.mark.parametrize(
    "rules", [{}, {"suppressed": (1, 4, 7, 99), "forced_first": 4, "forced_last": 2}], ids=["plain", "rules"]
)
@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.kind)
def test_engines_choose_the_tokens_of_the_full_product(
    tmp_path: Path, control: Control, rules: dict[str, object]
) -> None:
    program = TwoStageHead(least_bytes=0)(controlled(tabulated("attention").program, control, **rules)).program
    sample = converted_decoder("attention").models["decoder"].samples[2]
    with composed_of(program).opened(tmp_path) as session:
        answer = session.answer({"source": sample.inputs["source"]})
    assert answer.outputs["tokens"].tolist() == tokens_of(program)
    assert answer.full_products == 0
