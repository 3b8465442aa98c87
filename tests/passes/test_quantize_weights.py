from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from artifacts.checks import Tolerances
from artifacts.dtype import DType
from passes.dialect import QUANTIZED_EMBEDDING, QUANTIZED_LINEAR
from passes.interpreter import call
from passes.precision import PrecisionPass
from passes.program import Program
from passes.quantize_weights import QuantizeWeights
from passes.verification import check_program
from tests.support.programs import PROGRAMS, Array, attention_inputs, normal, operators, parsed, program_of

SMALL = QuantizeWeights(block=16, least=16)


def attention() -> Program:
    return PROGRAMS["attention"]()


@cache
def quantized(step: PrecisionPass = SMALL) -> Program:
    return step(attention()).program


def test_products_and_look_ups_use_codes_of_one_byte() -> None:
    function = quantized().functions["main"]
    found = operators(function)
    assert found.count(str(QUANTIZED_LINEAR)) == 4
    assert found.count(str(QUANTIZED_EMBEDDING)) == 1
    before = attention().functions["main"]
    assert [spec.name for spec in function.signature.inputs] == [spec.name for spec in before.signature.inputs]
    matrices = [ref for ref in function.weights.values() if len(ref.shape) == 3]
    assert {ref.dtype for ref in matrices} == {DType.UINT8}


def test_a_head_that_is_tied_to_the_embedding_shares_its_codes() -> None:
    codes = [ref.digest for name, ref in quantized().functions["main"].weights.items() if name.endswith("codes")]
    assert len(codes) == len(set(codes)) == 4, "three projections and one table for two uses"


def test_nodes_keep_their_names_and_sources() -> None:
    before, after = attention().functions["main"], quantized().functions["main"]
    changed = [node.name for node in after.computations if node.target is QUANTIZED_LINEAR]
    assert changed
    assert set(changed) <= {node.name for node in before.computations}
    assert {after.sources[name] for name in changed} == {before.sources[name] for name in changed}


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("rounds", [True, False])
def test_answers_are_within_the_tolerance_of_the_pass(bits: int, rounds: bool) -> None:
    step = QuantizeWeights(bits=8 if bits == 8 else 4, rounds=rounds, block=16, least=16)
    checks = check_program(quantized(step), step.loosened(Tolerances()))
    assert all(check.passed for check in checks)
    assert not all(check.comparison.passed for check in check_program(quantized(step), Tolerances()))


def test_what_one_kept_node_uses_stays_for_all() -> None:
    layers = SMALL.layers(attention())
    tied = next(layer for layer in layers if len(layer) == 2)
    assert sorted(sum(layers, ())) == sorted(SMALL.candidates(attention()))
    for place in tied:
        found = operators(QuantizeWeights(block=16, least=16, keep=(place,))(attention()).program.functions["main"])
        assert found.count(str(QUANTIZED_LINEAR)) == 3
        assert str(QUANTIZED_EMBEDDING) not in found


def test_all_that_is_kept_is_as_before() -> None:
    step = QuantizeWeights(block=16, least=16, keep=SMALL.candidates(attention()))
    assert not step(attention()).modified


def test_a_row_does_not_depend_on_the_others_of_its_batch() -> None:
    given = attention_inputs(4, 6)
    together = call(quantized(), "main", given)["logits"]
    for row in range(4):
        alone = call(quantized(), "main", {name: array[row : row + 1] for name, array in given.items()})["logits"]
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("matrix", "why"),
    [
        (normal(16, 8), "small"),
        (normal(24, 16), "rows that do not divide into blocks"),
        (normal(32, 16).astype(np.float16), "of another type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_matrices_stay(matrix: Array, why: str) -> None:
    kind = "float16" if matrix.dtype == np.float16 else "float"
    text = f"g ({kind}[n, {len(matrix)}] x) => ({kind}[n, {matrix.shape[1]}] y) {{ y = MatMul (x, w) }}"
    program = program_of(parsed(text, w=matrix), [{"x": normal(3, len(matrix)).astype(matrix.dtype)}])
    assert not QuantizeWeights(least=200)(program).modified, why


def test_a_matrix_that_is_not_finite_stays_and_is_told() -> None:
    matrix = normal(32, 16)
    matrix[3, 3] = np.inf
    program = program_of(
        parsed("g (float[n, 32] x) => (float[n, 16] y) { y = MatMul (x, w) }", w=matrix), [{"x": normal(3, 32)}]
    )
    result = QuantizeWeights(least=16)(program)
    assert not result.modified
    assert any("not all finite" in note for note in result.notes)


@pytest.mark.parametrize("block", [8, 48, 512])
def test_a_block_that_no_kernel_takes_is_refused(block: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        QuantizeWeights(block=block)
