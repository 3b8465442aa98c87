from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from artifacts.checks import Tolerances
from artifacts.errors import NumericsError, PassError, Problem, RunError
from artifacts.weights import WeightStore
from passes.bodies import copied_graph, edited
from passes.contract import FunctionPass, Pass, Rewrite
from passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from passes.eliminate_dead_code import EliminateDeadCode
from passes.fold_constants import FoldConstants
from passes.pipeline import run_passes
from passes.program import Function, Program
from tests.support.decoder_programs import Form, decoder_program
from tests.support.nudge import Nudge
from tests.support.programs import PROGRAMS

TABLE = Tolerances()


@dataclass(frozen=True)
class Broken(Pass):
    """A pass that raises, in its guard or in its rewrite."""

    name: ClassVar[str] = "broken"
    error: Callable[[], Exception]
    guard: bool = False

    def requires(self, program: Program) -> None:  # noqa: ARG002  # fails whatever it is given
        if self.guard:
            raise self.error()

    def rewrite(self, program: Program) -> Rewrite:  # noqa: ARG002  # fails whatever it is given
        raise self.error()


@dataclass(frozen=True)
class Unrunnable(FunctionPass):
    """A pass that leaves a graph that fails when it is run."""

    name: ClassVar[str] = "unrunnable"

    def rewrite_function(
        self, function: Function, weights: WeightStore
    ) -> tuple[Function, WeightStore, tuple[str, ...]]:
        graph, _ = copied_graph(function.body)
        product = next(n for n in graph.nodes if n.target is torch.ops.aten.matmul.default)
        product.args = (product.args[1], product.args[0])
        return replace(function, body=edited(function.body, graph)), weights, ()


def test_runs_tell_what_each_pass_did() -> None:
    started: list[str] = []
    steps = (FoldConstants(), EliminateDeadCode())
    program, runs = run_passes(
        PROGRAMS["filled_convolution"](), steps, TABLE, on_start=lambda step: started.append(step.name)
    )
    assert started == ["fold-constants", "eliminate-dead-code"]
    assert [run.step for run in runs] == list(steps)
    assert [run.modified for run in runs] == [True, False]
    assert [run.notes for run in runs] == [("main: nodes folded: 1",), ()]
    assert [(c.model, c.sample, c.output) for c in runs[0].checks] == [("main", 0, "scores"), ("main", 1, "scores")]
    assert runs[1].checks == (), "nothing changed, so there is nothing to compare"
    assert len(program.functions["main"].weights) == 2


def test_a_wrong_pass_is_named_with_the_node_and_its_source() -> None:
    program = PROGRAMS["attention"]()
    with pytest.raises(NumericsError) as caught:
        run_passes(program, (FoldConstants(), Nudge("main", "softmax"), EliminateDeadCode()), TABLE)
    assert isinstance(caught.value, PassError)
    problem, *others = caught.value.problems
    assert [other.subject for other in others] == [f"main: output 'logits', sample {n}" for n in (1, 2)]
    assert problem.stage == "passes"
    assert problem.subject == "main: output 'logits', sample 0"
    assert "after pass 'nudge'" in problem.message
    assert problem.message.endswith("first moved in function 'main' at node 'softmax' (source node 'Softmax:p')")


def test_a_moved_value_of_a_new_name_is_told_by_who_uses_it() -> None:
    with pytest.raises(NumericsError, match="at node 'matmul_4' \\(source node 'MatMul:o'\\)"):
        run_passes(PROGRAMS["attention"](), [Nudge("main", "softmax", keep_name=False)], TABLE)


def test_the_function_that_moved_is_named() -> None:
    with pytest.raises(NumericsError) as caught:
        run_passes(PROGRAMS["two_models"](), [Nudge("small", "matmul_1")], TABLE)
    (problem,) = caught.value.problems
    assert problem.subject.startswith("small: output 'y'")
    assert "function 'small' at node 'matmul_1' (source node 'MatMul:y')" in problem.message


@pytest.mark.parametrize(("function", "source"), [("encoder", "Unsqueeze:memory"), ("step", "MatMul:z")])
def test_a_decoder_is_searched_beyond_its_encoder(function: str, source: str) -> None:
    nodes = {"encoder": "unsqueeze", "step": "matmul_2"}
    with pytest.raises(NumericsError, match=f"in function '{function}'.*source node '{source}'"):
        run_passes(decoder_program("recompute"), [Nudge(function, nodes[function])], TABLE)


@pytest.mark.parametrize("form", ["cached", "carried"])
def test_a_step_that_the_sample_alone_cannot_call_is_still_held_to_the_source(form: Form) -> None:
    with pytest.raises(NumericsError) as caught:
        run_passes(decoder_program(form), [Nudge("step", "matmul_2")], TABLE)
    assert "after pass 'nudge'" in str(caught.value)
    assert "first moved" not in str(caught.value)


def test_without_verification_nothing_is_compared() -> None:
    _, runs = run_passes(PROGRAMS["attention"](), [Nudge("main", "softmax")], TABLE, verify=False)
    assert runs[0].modified
    assert runs[0].notes == ("main: nudged",)
    assert runs[0].checks == ()


def test_wider_tolerances_let_the_same_pass_through() -> None:
    _, (run,) = run_passes(PROGRAMS["attention"](), [Nudge("main", "softmax")], Tolerances.of(1.0, 1.0))
    assert max(check.comparison.max_abs for check in run.checks) > 1e-3


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyError, AttributeError, RuntimeError, AssertionError])
def test_a_bug_in_a_pass_names_it_and_the_passes_before(kind: type[Exception]) -> None:
    steps = (EliminateDeadCode(), EliminateCommonSubexpressions(), Broken(lambda: kind("oops")))
    with pytest.raises(PassError) as caught:
        run_passes(PROGRAMS["tied_perceptron"](), steps, TABLE)
    (problem,) = caught.value.problems
    assert problem.subject == "pass 'broken'"
    assert f"{kind.__name__}: " in problem.message
    assert "passes that ran before: eliminate-dead-code, eliminate-common-subexpressions" in problem.message
    assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("kind", [PassError, RunError])
def test_an_error_of_the_tree_keeps_its_kind_and_its_problems(kind: type[PassError | RunError], guard: bool) -> None:
    problems = (Problem("unroll", "step", "has no end", "give --max-length"), Problem("unroll", "loop", "is none"))
    with pytest.raises(kind) as caught:
        run_passes(PROGRAMS["tied_perceptron"](), [Broken(lambda: kind(*problems), guard)], TABLE)
    first, second = caught.value.problems
    assert first.stage == "unroll"
    assert first.subject == "pass 'broken': step"
    assert first.message == "has no end (passes that ran before: none)"
    assert first.hint == "give --max-length"
    assert second.subject == "pass 'broken': loop"
    assert isinstance(caught.value.__cause__, kind)


def test_a_result_that_cannot_be_run_is_the_fault_of_its_pass() -> None:
    with pytest.raises(PassError, match=r"pass 'unrunnable': node 'matmul' .*passes that ran before: fold-constants"):
        run_passes(PROGRAMS["tied_perceptron"](), [FoldConstants(), Unrunnable()], TABLE)


def test_no_passes_give_the_program_itself() -> None:
    program = PROGRAMS["tied_perceptron"]()
    assert run_passes(program, (), TABLE) == (program, ())
