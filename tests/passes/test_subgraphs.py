from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
import torch

from passes.bodies import copied_graph, edited, with_weights
from passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from passes.eliminate_dead_code import EliminateDeadCode
from passes.fold_constants import FoldConstants
from passes.interpreter import run_function
from passes.onnx_to_torch.convert import Converted
from passes.program import Function, Program
from passes.subgraphs import (
    all_graphs,
    is_branching,
    is_looping,
    merge_operands,
    operands_of,
    placeholders_of,
    subgraphs_of,
)
from passes.text import function_text
from tests.support.branching import REQUESTS, branching_inputs, branching_model
from tests.support.looping import LOOPS, Looping
from tests.support.onnxruntime_models import answers, converted

STEPS = (FoldConstants(), EliminateCommonSubexpressions(), EliminateDeadCode())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return converted(branching_model(), branching_inputs(3, True, True), tmp_path_factory.mktemp("branching"))


def program_of(found: Converted) -> Program:
    return Program({"main": found.function}, {}, found.weights)


def check(program: Program) -> None:
    """The function gives what ONNX Runtime gives, on the way through every branch."""
    for request in REQUESTS:
        inputs = [*branching_inputs(*request).values()]
        results = run_function(program.functions["main"], program.weights, [torch.tensor(array) for array in inputs])
        for result, expected in zip(results, answers(branching_model(), inputs), strict=True):
            torch.testing.assert_close(result, torch.tensor(expected))


def cond_of(function: Function) -> torch.fx.Node:
    found: list[torch.fx.Node] = [*filter(is_branching, function.graph.nodes)]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module", params=LOOPS)
def looping(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Looping, Converted]:
    case = LOOPS[request.param]
    return case, converted(case.model, case.requests[0], tmp_path_factory.mktemp("looping"))


def check_loop(case: Looping, program: Program) -> None:
    for request in case.requests:
        arrays = [*request.values()]
        results = run_function(program.functions["main"], program.weights, [torch.tensor(array) for array in arrays])
        for result, expected in zip(results, answers(case.model, arrays), strict=True):
            torch.testing.assert_close(result, torch.tensor(expected))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_passes_keep_the_meaning_of_loops(looping: tuple[Looping, Converted], step: FoldConstants) -> None:
    case, found = looping
    result = step(program_of(found))
    check_loop(case, result.program)
    assert not step(result.program).modified


def test_a_loop_is_given_what_its_body_uses_and_no_more(looping: tuple[Looping, Converted]) -> None:
    function = looping[1].function
    graphs = [*all_graphs(function.graph, dict(function.body.graph_module.named_children()))]
    for graph in graphs[1:]:
        assert {key for node in graph.nodes for key in node.meta} <= {"val", "weight"}
    for node in filter(is_looping, function.graph.nodes):
        (body,) = subgraphs_of(node, function.body.graph_module)
        places, operands = placeholders_of(body.graph), operands_of(node)
        assert all(place.users for place in places[len(places) - len(operands) :])
        assert len(set(operands)) == len(operands)


def test_a_weight_that_a_body_uses_is_the_functions_own(tmp_path: Path) -> None:
    found = converted(LOOPS["counted"].model, LOOPS["counted"].requests[0], tmp_path)
    (node,) = filter(is_looping, found.function.graph.nodes)
    assert operands_of(node) == found.function.weight_nodes
    assert [ref.shape for ref in found.function.weights.values()] == [(3, 3)]


def test_the_text_shows_the_body_with_what_differs_each_time(tmp_path: Path) -> None:
    """Read by a person: the whole loop is there, and only the count of iterations and sizes that grow are new."""
    text = function_text(converted(LOOPS["growing"].model, LOOPS["growing"].requests[0], tmp_path).function)
    (line,) = (line for line in text.splitlines() if "unspool_loop(" in line)
    assert line.endswith("= unspool_loop(%count, None, [%x], []) : (float32[m, 2], float32[k])")
    assert re.search(r"body \(%given_0: int64\[\], %given_1: float32\[u\d+, 2\]\) \{", text)
    assert "aten.cat.default([%given_1, %mean_0])" in text


def test_a_change_inside_a_body_changes_the_text(tmp_path: Path) -> None:
    function = converted(LOOPS["growing"].model, LOOPS["growing"].requests[0], tmp_path).function
    other = own_copy(function)
    assert function_text(other) == function_text(function)
    (node,) = filter(is_looping, other.graph.nodes)
    (body,) = subgraphs_of(node, other.body.graph_module)
    changed = next(node for node in body.graph.nodes if node.target is torch.ops.aten.mean.dim)
    changed.target = torch.ops.aten.sum.dim_IntList
    assert function_text(other) != function_text(function)


def test_dead_code_inside_a_body_goes(tmp_path: Path) -> None:
    found = converted(LOOPS["growing"].model, LOOPS["growing"].requests[0], tmp_path)
    dirty = own_copy(found.function)
    (node,) = filter(is_looping, dirty.graph.nodes)
    (body,) = subgraphs_of(node, dirty.body.graph_module)
    carried = placeholders_of(body.graph)[1]
    with body.graph.inserting_after(carried):
        dead = body.graph.call_function(torch.ops.aten.relu.default, (carried,))
    dead.meta = dict(carried.meta)
    result = EliminateDeadCode()(Program({"main": dirty}, {}, found.weights))
    assert result.modified
    assert function_text(result.program.functions["main"]) == function_text(found.function)


def test_a_body_with_a_loop_is_saved_and_loaded(tmp_path: Path) -> None:
    case = LOOPS["nested"]
    found = converted(case.model, case.requests[0], tmp_path)
    torch.export.save(with_weights(found.function, found.weights), tmp_path / "body.pt2")
    loaded = torch.export.load(tmp_path / "body.pt2").module()
    for request in case.requests:
        results = loaded(*map(torch.tensor, request.values()))
        for result, expected in zip(results, answers(case.model, [*request.values()]), strict=True):
            torch.testing.assert_close(result, torch.tensor(expected))


def test_a_function_with_branches_runs(found: Converted) -> None:
    check(program_of(found))


def test_a_cond_is_given_what_its_branches_use_and_no_more(found: Converted) -> None:
    node = cond_of(found.function)
    for branch in subgraphs_of(node, found.function.body.graph_module):
        assert len([n for n in branch.graph.nodes if n.op == "placeholder"]) == len(operands_of(node))
    for position in range(len(operands_of(node))):
        branches = subgraphs_of(node, found.function.body.graph_module)
        assert any([n for n in b.graph.nodes if n.op == "placeholder"][position].users for b in branches)
    # w and two constants of the branches; the others are shapes.
    assert len(found.function.weights) == 3


def test_nothing_about_this_machine_is_left_in_branches(found: Converted) -> None:
    body = found.function.body
    modules = dict(body.graph_module.named_children())
    graphs = list(all_graphs(body.graph, modules))
    assert len(graphs) == 5
    assert {key for graph in graphs for node in graph.nodes for key in node.meta} <= {"val", "weight"}


def test_the_text_shows_the_branches(found: Converted) -> None:
    text = function_text(found.function)
    assert text.count("then {") == 2
    assert text.count("else {") == 2
    assert "matmul" in text.split("then {")[1]
    assert "matmul" not in text.split("else {")[1]


def own_copy(function: Function) -> Function:
    """The function with branches of its own, to be spoiled."""
    graph, _ = copied_graph(function.body)
    modules = merge_operands(graph, function.body.graph_module)
    return replace(function, body=edited(function.body, graph, modules))


def test_a_change_inside_a_branch_changes_the_text(found: Converted) -> None:
    other = own_copy(found.function)
    assert function_text(other) == function_text(found.function)
    branch = subgraphs_of(cond_of(other), other.body.graph_module)[0]
    changed = next(node for node in branch.graph.nodes if node.target is torch.ops.aten.add.Tensor)
    changed.target = torch.ops.aten.sub.Tensor
    assert function_text(other) != function_text(found.function)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_passes_keep_the_meaning_and_are_done_after_once(found: Converted, step: FoldConstants) -> None:
    result = step(program_of(found))
    check(result.program)
    assert not step(result.program).modified


def test_dead_code_inside_branches_goes(found: Converted) -> None:
    dirty = own_copy(found.function)
    for graph in all_graphs(dirty.graph, dict(dirty.body.graph_module.named_children())):
        for node in [n for n in graph.nodes if n.target is torch.ops.aten.add.Tensor]:
            with graph.inserting_before(node):
                dead = graph.call_function(torch.ops.aten.relu.default, (node.args[0],))
            dead.meta = dict(node.meta)
    result = EliminateDeadCode()(Program({"main": dirty}, {}, found.weights))
    assert result.modified
    assert function_text(dirty).count("relu") == 2 * 3
    assert function_text(result.program.functions["main"]) == function_text(found.function)
    assert function_text(dirty).count("relu") == 2 * 3


def test_an_operand_that_two_weights_became_is_handed_in_once(tmp_path: Path) -> None:
    found = converted(branching_model(other=(1, 2, 3)), branching_inputs(3, True, True), tmp_path)
    before = cond_of(found.function)
    result = EliminateCommonSubexpressions()(program_of(found))
    after = cond_of(result.program.functions["main"])
    assert len(operands_of(after)) == len(operands_of(before)) - 1
    assert len(set(operands_of(after))) == len(operands_of(after))


SIZES = """
    <ir_version: 10, opset_import: ["": 21]>
    graph (float[n, 3] x, bool given) => (float[m, 3] y)
    <int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}>
    {
        rows = Shape<end = 1>(x)
        twice = Mul(rows, two)
        odd = Add(twice, one)
        shape = Concat<axis = 0>(odd, three)
        y = If (given) <
            then_branch = then () => (float[m, 3] t) {
                first = Constant<value = float[1, 3] {1, 2, 3}>()
                t = Expand(first, shape)
            },
            else_branch = otherwise () => (float[m, 3] e) {
                second = Constant<value = float[1, 3] {4, 5, 6}>()
                e = Expand(second, shape)
            }
        >
    }
"""


def test_a_body_with_branches_is_saved_and_loaded(tmp_path: Path) -> None:
    """torch makes one sum of many terms out of a size that a branch computes, which it cannot save."""
    model = onnx.parser.parse_model(SIZES)
    found = converted(model, {"x": np.zeros((3, 3), np.float32), "given": np.array(True)}, tmp_path)
    assert "sym_sum" not in function_text(found.function)
    torch.export.save(with_weights(found.function, found.weights), tmp_path / "body.pt2")
    loaded = torch.export.load(tmp_path / "body.pt2").module()
    for rows, given in ((3, True), (5, False)):
        x = np.zeros((rows, 3), np.float32)
        (expected,) = answers(model, [x, np.array(given)])
        torch.testing.assert_close(loaded(torch.tensor(x), torch.tensor(given))[0], torch.tensor(expected))
