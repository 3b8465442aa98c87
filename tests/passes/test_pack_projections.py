"""What golden texts do not show of products that are packed: bytes, and whose weights stay."""

from __future__ import annotations

from artifacts.checks import Tolerances
from passes.dialect import CACHED_ATTENTION
from passes.fuse_attention import FuseAttention
from passes.pack_projections import PackProjections
from passes.program import Program
from passes.verification import check_program
from tests.passes.test_tabulate_positions import tabulated
from tests.support.decoder_modules import step_of
from tests.support.programs import bare, normal, parsed


def _row(name: str = "main") -> Program:
    text = "g (float[n, 1, 4] x) => (float[n, 1, 4] q, float[n, 1, 4] k) { q = MatMul (x, wq) k = MatMul (x, wk) }"
    return bare(parsed(text, wq=normal(4, 4), wk=normal(4, 4, seed=1)), {"x": normal(3, 1, 4)}, name)


def test_functions_that_use_the_same_matrices_have_one_packed() -> None:
    program = PackProjections()(_row("one").merged(_row("other"))).program
    one, other = (set(function.weights.values()) for function in program.functions.values())
    assert one == other
    assert [ref.shape for ref in one] == [(4, 8)]


def test_a_matrix_that_another_function_uses_apart_stays() -> None:
    assert PackProjections()(_row()).modified
    text = """
main (float[n, 1, 4] x) => (float[n, 1, 4] q) {
    q = MatMul (x, wq)
}
"""
    apart = bare(parsed(text, wq=normal(4, 4)), {"x": normal(3, 1, 4)}, "other")
    assert not PackProjections()(_row("one").merged(apart)).modified


def test_there_is_one_copy_of_the_weights() -> None:
    before, after = _row(), PackProjections()(_row()).program
    sizes = [sum(ref.nbytes for ref in p.functions["main"].weights.values()) for p in (before, after)]
    assert sizes[0] == sizes[1] == 4 * 4 * 4 * 2


def test_a_step_s_queries_keys_and_values_are_one_product() -> None:
    """These are torch's linear layers, whose weights are [columns, size]."""
    program = PackProjections()(FuseAttention()(tabulated("attention").program).program).program
    attentions = [node for node in step_of(program).computations if node.target is CACHED_ATTENTION]
    assert len(attentions) == 2
    for node in attentions:
        assert len({operand.args[0] for operand in node.args[:3]}) == 1  # type: ignore[union-attr]  # nodes
    assert all(check.comparison.passed for check in check_program(program, Tolerances()))
