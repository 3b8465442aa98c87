from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
import torch

from passes.bodies import copied_graph, edited, with_weights
from passes.branches import all_graphs, branches_of, is_branching, merge_operands, operands_of
from passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from passes.eliminate_dead_code import EliminateDeadCode
from passes.fold_constants import FoldConstants
from passes.interpreter import run_function
from passes.onnx_to_torch.convert import Converted
from passes.program import Function, Program
from passes.text import function_text
from tests.support.branching import REQUESTS, branching_inputs, branching_model
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


def test_a_function_with_branches_runs(found: Converted) -> None:
    check(program_of(found))


def test_a_cond_is_given_what_its_branches_use_and_no_more(found: Converted) -> None:
    node = cond_of(found.function)
    for branch in branches_of(node, found.function.body.graph_module):
        assert len([n for n in branch.graph.nodes if n.op == "placeholder"]) == len(operands_of(node))
    for position in range(len(operands_of(node))):
        branches = branches_of(node, found.function.body.graph_module)
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
    branch = branches_of(cond_of(other), other.body.graph_module)[0]
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
