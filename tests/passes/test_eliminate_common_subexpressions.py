"""What golden texts do not show of common subexpressions: what counts as one reference, and as one argument."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from passes.program import Program
from tests.support.programs import bare, normal, operators, parsed, traced

STEP = EliminateCommonSubexpressions()


@pytest.mark.parametrize(("offset", "merged"), [(0, True), (16, False)])
def test_references_are_one_only_at_one_offset(offset: int, merged: bool) -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { a = Add (x, v) y = Add (a, w) }"
    program = bare(parsed(text, v=normal(1, 4), w=normal(1, 4, seed=1)), {"x": normal(3, 4)})
    store, whole = program.weights.with_tensor(normal(2, 4, seed=2))
    function = program.functions["main"]
    rows = [whole.model_copy(update={"shape": (1, 4), "offset": at}) for at in (0, offset)]
    changed = replace(function, weights=dict(zip(function.weights, rows, strict=True)))
    after = STEP(Program({"main": changed}, {}, store)).program.functions["main"]
    assert len(after.weights) == (1 if merged else 2)


def test_the_first_of_equal_nodes_stays_with_its_name_and_source() -> None:
    text = "g (float[n] x) => (float[n] y, float[n] z) { y = Relu (x) z = Relu (x) }"
    program = bare(parsed(text), {"x": normal(3)})
    after = STEP(program).program.functions["main"]
    (kept,) = after.computations
    assert kept.name == next(program.functions["main"].computations).name
    assert after.sources == {kept.name: "Relu:y"}
    assert after.results == (kept, kept)


@pytest.mark.parametrize(
    ("left", "right", "merged"),
    [
        (lambda x: x.sum(0, keepdim=True), lambda x: x.sum(0, keepdim=True), True),
        (lambda x: x.sum(0, keepdim=True), lambda x: x.sum(1, keepdim=True), False),
        (lambda x: x.to(torch.float64), lambda x: x.to(torch.float16), False),
        (lambda x: torch.full_like(x, float("nan")), lambda x: torch.full_like(x, float("nan")), True),
        (lambda x: torch.nn.functional.dropout(x, 0.5), lambda x: torch.nn.functional.dropout(x, 0.5), False),
        (torch.bernoulli, torch.bernoulli, False),
        (lambda x: x.split(1)[0], lambda x: x.split(1)[0], True),
        (lambda x: x.split(1)[0], lambda x: x.split(1)[1], False),
    ],
)
def test_nodes_are_one_where_operator_and_arguments_are(left: object, right: object, merged: bool) -> None:
    assert callable(left)
    assert callable(right)
    program = traced(lambda x: (left(x), right(x)), torch.full((2, 2), 0.5))
    first, second = STEP(program).program.functions["main"].results
    assert (first is second) == merged


def test_a_chain_of_equal_nodes_goes_in_one_run() -> None:
    left, right = (" ".join(f"{s}{i + 1} = Relu ({s}{i})" for i in range(6)) for s in "ab")
    text = f"g (float[n] x) => (float[n] y) {{ a0 = Neg (x) b0 = Neg (x) {left} {right} y = Add (a6, b6) }}"
    after = STEP(bare(parsed(text), {"x": normal(3)})).program.functions["main"]
    assert operators(after) == ["aten.neg.default", *["aten.relu.default"] * 6, "aten.add.Tensor"]
