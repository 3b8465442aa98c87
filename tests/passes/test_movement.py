"""What functions move, counted by hand for small ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sympy
import torch

from passes.eliminate_copies import EliminateCopies
from passes.movement import moved, movements
from passes.program import Program
from tests.support.decoder_programs import decoder_program
from tests.support.programs import PROGRAMS, bare, normal, parsed, traced

CASES: dict[str, tuple[Callable[[torch.Tensor], Any], int, int]] = {
    "computation": (lambda x: x.relu(), 0, 0),
    "turn": (lambda x: x.permute(0, 2, 1) + 1, 1, 60 + 60),
    "two turns": (lambda x: x.permute(0, 2, 1).relu().transpose(0, 1) + 1, 2, 2 * (60 + 60)),
    "join": (lambda x: torch.cat([x, x], 1), 1, 120 + 120),
    "look-up of rows": (lambda x: torch.index_select(x, 1, torch.arange(2)), 1, 30 + 30),
    "view": (lambda x: x.reshape(4, -1) + 1, 1, 0),
    "slice": (lambda x: x[:, 1:3] + 1, 1, 30 + 30),
    "split": (lambda x: torch.add(*torch.split(x, [2, 2], 1)), 1, 60 + 60),
    "cast": (lambda x: x.double() + 1, 1, 60 + 2 * 60),
    "repetition, which is read once": (lambda x: x[:1].expand(3, 4, 5) * 2, 2, (20 + 20) + (20 + 60)),
}
"""A function of x float32 [3, 4, 5], its operators that move, and the elements of 4 bytes that they read and write."""


@pytest.mark.parametrize("name", CASES)
def test_operators_and_bytes(name: str) -> None:
    function, operators, elements = CASES[name]
    figures = moved(traced(function, torch.ones(3, 4, 5)).functions["main"])
    assert (figures.operators, figures.bytes) == (operators, 4 * elements)


def test_a_cast_to_the_type_that_is_there_moves_nothing() -> None:
    program = traced(lambda x: (x.float() + 1, x.double() + 1), torch.ones(2, 3))
    figures = moved(program.functions["main"])
    assert (figures.operators, figures.bytes) == (2, 6 * (4 + 8))


def test_a_branch_counts_as_the_one_that_moves_more() -> None:
    text = """
    g (float[4, 4] x) => (float[4, 4] y) {
        least = ReduceMin <keepdims = 0> (x)
        flag = Cast <to = 9> (least)
        y = If (flag) <
            then_branch = t () => (float[4, 4] p) { p = Relu (x) },
            else_branch = e () => (float[4, 4] q) { q1 = Transpose <perm = [1, 0]> (x) q = Relu (q1) }
        >
    }
    """
    plain = bare(parsed(text), {"x": normal(4, 4)})
    turned = moved(EliminateCopies()(plain).program.functions["main"])
    # A cast of one float32 to a bool, a turn of 16 float32, and the copy of them that is the branch's result.
    assert (turned.operators, turned.bytes) == (3, (4 + 1) + 2 * 4 * (16 + 16))


def test_each_function_is_counted_at_the_sizes_of_the_sample() -> None:
    program = decoder_program("cached")
    found = {item.function: item for item in movements(program, "fusions")}
    assert set(found) == {"encoder", "step"}
    assert {item.after for item in found.values()} == {"fusions"}
    batch, count = program.models["decoder"].samples[0].inputs["tokens"].shape
    sizes = {sympy.Symbol("batch"): batch, sympy.Symbol("p"): count - 1}
    assert found["step"].bytes == moved(program.functions["step"]).bytes.subs(sizes) > 0


def test_a_function_that_no_model_calls_is_left_out() -> None:
    program = PROGRAMS["tied_perceptron"]()
    assert len(movements(program, "convert")) == 1
    assert movements(Program(program.functions, {}, program.weights), "convert") == ()
