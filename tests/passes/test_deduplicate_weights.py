"""What the golden texts do not show: several functions, branches, notes that stay short."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts.checks import Tolerances
from passes.deduplicate_weights import DeduplicateWeights
from passes.program import Program
from passes.verification import check_program
from tests.support.programs import normal, operators, parsed, program_of

STEP = DeduplicateWeights(least=16)
EMBED = normal(20, 6)


def stored_bytes(program: Program) -> int:
    return sum(program.weights.blobs[digest].nbytes for digest in program.digests)


def looked_up(name: str) -> Program:
    model = parsed("g (int64[n] ids) => (float[n, 6] y) { y = Gather (w, ids) }", w=EMBED)
    return program_of(model, [{"ids": np.array([3, 19, 0])}], name)


def multiplied(name: str) -> Program:
    model = parsed("g (float[n, 6] x) => (float[n, 20] y) { y = MatMul (x, w) }", w=EMBED.T.copy())
    return program_of(model, [{"x": normal(3, 6)}, {"x": normal(1, 6)}], name)


@pytest.mark.parametrize("first", [looked_up, multiplied])
def test_a_head_of_one_model_is_the_embedding_of_another(first: object) -> None:
    parts = [looked_up("embedding"), multiplied("head")]
    program = parts[0].merged(parts[1]) if first is looked_up else parts[1].merged(parts[0])
    result = STEP(program)
    assert stored_bytes(result.program) == EMBED.nbytes
    assert operators(result.program.functions["head"]) == ["aten.linear.default"]
    assert result.program.functions["embedding"].body is program.functions["embedding"].body
    assert all(check.passed for check in check_program(result.program, Tolerances()))


def test_a_matrix_that_a_branch_uses_is_not_turned() -> None:
    text = """
    g (float[n, 6] x, bool given) => (float[n, 20] y, float[n, 6] z) {
        y = If (given) <
            then_branch = then () => (float[n, 20] t) { t = MatMul (x, w) },
            else_branch = other () => (float[n, 20] e) { p = MatMul (x, w) e = Relu (p) }
        >
        z = MatMul (y, v)
    }
    """
    requests = [{"x": normal(n, 6), "given": np.array(given)} for n, given in ((3, True), (2, False))]
    program = program_of(parsed(text, w=EMBED.T.copy(), v=EMBED), requests)
    result = STEP(program)
    assert stored_bytes(result.program) == EMBED.nbytes
    function = result.program.functions["main"]
    assert {ref.shape for ref in function.weights.values()} == {(6, 20)}
    assert "aten.linear.default" in operators(function)
    assert all(check.passed for check in check_program(result.program, Tolerances()))


def test_small_contents_are_left() -> None:
    program = looked_up("embedding").merged(multiplied("head"))
    assert not DeduplicateWeights(least=EMBED.nbytes)(program).modified


def test_notes_name_a_few_and_count_the_others() -> None:
    parts = {f"part{number}": EMBED[number : number + 9] for number in range(7)}
    sums = " ".join(f"y{number} = Gather ({name}, ids)" for number, name in enumerate(parts))
    outputs = ", ".join(f"float[n, 6] y{number}" for number in range(len(parts)))
    model = parsed(f"g (int64[n] ids) => ({outputs}, float[n, 6] y) {{ {sums} y = Gather (w, ids) }}", w=EMBED, **parts)
    result = STEP(program_of(model, [{"ids": np.array([3, 8, 0])}]))
    assert stored_bytes(result.program) == EMBED.nbytes
    nbytes = 7 * 9 * 6 * 4
    assert result.notes == (
        f"parts of larger contents, stored there: 7 of {nbytes} bytes (part0, part1, part2 and 4 more)",
    )
    assert all(check.comparison.max_abs == 0 for check in check_program(result.program, Tolerances()))
