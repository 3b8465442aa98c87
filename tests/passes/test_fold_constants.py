"""What golden texts do not show of folding: bytes, and where they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from artifacts.checks import Tolerances
from passes.fold_constants import FoldConstants
from passes.interpreter import call
from passes.program import Program
from passes.verification import check_program
from tests.support.programs import PROGRAMS, bare, normal, operators, parsed


def nbytes(program: Program) -> int:
    """Bytes of the contents that the functions refer to, each counted once."""
    digests = {ref.digest for function in program.functions.values() for ref in function.weights.values()}
    return sum(program.weights.blobs[digest].nbytes for digest in digests)


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_a_limit_of_its_own_no_program_grows(name: str) -> None:
    program = PROGRAMS[name]()
    assert nbytes(FoldConstants(limit=0)(program).program) <= nbytes(program)


@pytest.mark.parametrize("name", PROGRAMS)
def test_whatever_the_limit_the_answers_stay(name: str) -> None:
    program = FoldConstants(limit=1 << 30)(PROGRAMS[name]()).program
    assert all(check.comparison.passed for check in check_program(program, Tolerances()))


def test_with_a_limit_large_enough_only_reorderings_are_left() -> None:
    function = FoldConstants(limit=1 << 30)(PROGRAMS["half_weights"]()).program.functions["main"]
    on_weights = [node for node in function.computations if set(node.all_input_nodes) <= set(function.weight_nodes)]
    assert [str(node.target) for node in on_weights] == ["aten.permute.default"]


def test_a_limit_counts_bytes_of_the_result() -> None:
    text = """
    g (float[n] x) => (float[n] y) {
        shape = Constant <value_ints = [6]> ()
        filled = ConstantOfShape (shape)
        total = ReduceSum <keepdims = 0> (filled)
        y = Add (x, total)
    }
    """
    program = bare(parsed(text), {"x": normal(3)})
    kept = [operators(FoldConstants(limit)(program).program.functions["main"]) for limit in (3, 4, 23, 24)]
    assert ["aten.full.default" in found for found in kept] == [True, True, True, False]
    assert ["aten.sum.dim_IntList" in found for found in kept] == [True, True, True, False]


def test_a_view_is_a_reference_into_the_content_it_views() -> None:
    """Of a weight that is itself a view: four rows of a larger content, from the third on."""
    text = """
    g (float[n, 2] x) => (float[n, 8] y) {
        shape = Constant <value_ints = [2, 8]> ()
        wide = Reshape (w, shape)
        y = MatMul (x, wide)
    }
    """
    program = bare(parsed(text, w=normal(4, 4)), {"x": normal(3, 2)})
    table = normal(9, 4, seed=5)
    store, whole = program.weights.with_tensor(table)
    function = program.functions["main"]
    (name,) = function.weights
    rows = whole.model_copy(update={"shape": (4, 4), "offset": 2 * 4 * 4})
    sliced = Program({"main": replace(function, weights={name: rows})}, {}, store)

    folded = FoldConstants()(sliced).program

    (ref,) = folded.functions["main"].weights.values()
    assert (ref.digest, ref.shape, ref.offset) == (whole.digest, (2, 8), 32)
    assert len(folded.weights) == len(store)
    x = normal(3, 2)
    expected = x @ table[2:6].reshape(2, 8)
    np.testing.assert_allclose(call(folded, "main", {"x": x})["y"].astype(float), expected, rtol=1e-5, atol=1e-6)


def test_a_folded_weight_is_named_after_the_node_that_it_was() -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { twice = Add (w, w) y = MatMul (x, twice) }"
    function = FoldConstants()(bare(parsed(text, w=normal(4, 4)), {"x": normal(3, 4)})).program.functions["main"]
    (weight,) = function.weight_nodes
    assert function.sources[weight.name] == "Add:twice"
    assert [function.sources[node.name] for node in function.computations] == ["MatMul:y"]


def test_weights_come_before_inputs_also_where_there_were_none() -> None:
    text = "g (float[n] x) => (float[n] y) { c = Constant <value_int = 3> () f = Cast <to = 1> (c) y = Mul (x, f) }"
    function = FoldConstants()(bare(parsed(text), {"x": normal(3)})).program.functions["main"]
    assert [node in function.weight_nodes for node in function.placeholders] == [True, False]


def test_a_content_may_be_folded_once_its_last_other_user_is_gone() -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { t = Mul (w, w) y = MatMul (x, t) }"
    inputs = {"x": normal(3, 4)}
    one, other = (bare(parsed(text, w=normal(4, 4)), inputs, name) for name in ("one", "other"))
    step = FoldConstants(limit=0)
    assert not step(one.merged(other)).modified
    assert step(one).modified
