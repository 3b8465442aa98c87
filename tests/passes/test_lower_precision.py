from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from artifacts.checks import Tolerances
from artifacts.dtype import DType
from artifacts.errors import NumericsError
from passes import dialect
from passes.lower_precision import LowerPrecision
from passes.pipeline import run_passes
from passes.program import Function, Program
from passes.verification import check_program
from tests.support.decoder_programs import decoder_program
from tests.support.programs import PROGRAMS, bare, normal, operators, parsed, program_of

HALF = LowerPrecision()
BOTH = pytest.mark.parametrize("dtype", ["float16", "bfloat16"])


def lowered(program: Program, step: LowerPrecision = HALF) -> Program:
    result = step(program)
    assert result.modified
    return result.program


def types_of(function: Function) -> dict[str, torch.dtype]:
    values = {node.name: node.meta["val"] for node in function.computations}
    return {name: value.dtype for name, value in values.items() if isinstance(value, torch.Tensor)}


def casts(function: Function) -> Sequence[torch.fx.Node]:
    return [node for node in function.computations if node.target is torch.ops.aten.to.dtype]


@BOTH
@pytest.mark.parametrize("name", ["tied_perceptron", "attention", "filled_convolution", "two_models"])
def test_it_stays_within_its_tolerance(name: str, dtype: str) -> None:
    step = LowerPrecision(dtype="float16" if dtype == "float16" else "bfloat16")
    program = lowered(PROGRAMS[name](), step)
    checks = check_program(program, step.loosened(Tolerances()))
    assert [str(check.comparison) for check in checks if not check.passed] == []
    assert any(check.comparison.max_abs > 0 for check in checks), "nothing was rounded"


def test_a_tied_weight_is_stored_once_in_sixteen_bits() -> None:
    program = lowered(PROGRAMS["tied_perceptron"]())
    refs = [ref for ref in program.functions["main"].weights.values() if ref.size == 24 * 24]
    assert {ref.dtype for ref in refs} == {DType.FLOAT16}
    assert len({ref.digest for ref in refs}) == 1


def test_what_the_caller_gives_and_gets_stays_as_it_is() -> None:
    for name in ("attention", "tied_perceptron"):
        assert lowered(PROGRAMS[name]()).functions["main"].signature == PROGRAMS[name]().functions["main"].signature


def test_no_value_is_cast_there_and_back() -> None:
    for name in ("tied_perceptron", "attention", "filled_convolution"):
        for cast in casts(lowered(PROGRAMS[name]()).functions["main"]):
            assert cast.all_input_nodes[0].target is not torch.ops.aten.to.dtype
    assert len(casts(lowered(PROGRAMS["tied_perceptron"]()).functions["main"])) == 2


def test_candidates_are_what_changes_and_what_is_kept_does_not() -> None:
    program = PROGRAMS["attention"]()
    candidates = HALF.candidates(program)
    assert len(candidates) > 5
    for candidate in candidates:
        name = candidate.partition("/")[2]
        kept = types_of(lowered(program, LowerPrecision(keep=(candidate,))).functions["main"])
        assert kept[name] == torch.float32
        assert types_of(lowered(program).functions["main"])[name] == torch.float16
    assert not LowerPrecision(keep=candidates)(program).modified


def test_a_kept_product_keeps_the_precision_of_its_weight() -> None:
    program = PROGRAMS["tied_perceptron"]()
    first = HALF.candidates(program)[0]
    function = LowerPrecision(keep=(first,))(program).program.functions["main"]
    assert [ref.dtype for ref in function.weights.values() if ref.size == 24 * 24] == [DType.FLOAT32]


def test_a_value_beyond_the_types_range_is_told_and_stays_and_another_type_has_room() -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { a = MatMul (x, w) b = MatMul (a, v) y = MatMul (b, u) }"
    weights = {
        "w": normal(4, 4) * np.float32(1e5),
        "v": normal(4, 4, seed=1) * np.float32(1e-4),
        "u": normal(4, 4, seed=2),
    }
    program = program_of(parsed(text, **weights), [{"x": normal(3, 4)}])
    result = HALF(program)
    assert list(types_of(result.program.functions["main"]).values()).count(torch.float32) >= 2
    assert any("stays float32" in note and "has values of" in note for note in result.notes)
    assert check_program(result.program, HALF.loosened(Tolerances()))[0].passed
    wide = types_of(LowerPrecision(dtype="bfloat16")(program).program.functions["main"])
    assert all(wide[name] == torch.bfloat16 for name in ("matmul", "matmul_1", "matmul_2"))


def test_a_weight_that_is_too_small_for_the_type_stays() -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { a = MatMul (x, w) y = Mul (a, c) }"
    weights = {"w": normal(4, 4) * np.float32(1e-7), "c": np.full(1, 1e7, np.float32)}
    assert not HALF(program_of(parsed(text, **weights), [{"x": normal(3, 4)}])).modified


def test_the_node_of_a_weight_that_loses_its_small_rows_is_named() -> None:
    """The weight's largest values fit the type, those of one column do not, and a later node needs them."""
    text = "g (float[n, 4] x) => (float[n, 4] y) { a = Relu (x) b = MatMul (a, w) c = MatMul (b, v) y = Mul (c, s) }"
    scales = np.array([1, 1, 1, 1e-9], np.float32)
    weights = {"w": normal(4, 4), "v": np.abs(normal(4, 4, seed=1)) * scales, "s": (1 / scales) ** np.float32(1.05)}
    program = program_of(parsed(text, **weights), [{"x": normal(3, 4)}])
    with pytest.raises(NumericsError) as caught:
        run_passes(program, [HALF], Tolerances())
    message = caught.value.problems[0].message
    assert "pass 'lower-precision'" in message
    assert "first moved in function 'main'" in message
    assert "(source node 'Mul:y')" in message


@BOTH
def test_slots_and_encoder_outputs_travel_in_sixteen_bits(dtype: str) -> None:
    step = LowerPrecision(dtype="float16" if dtype == "float16" else "bfloat16")
    for form in ("cached", "first", "carried"):
        program = lowered(decoder_program(form), step)
        signature = program.functions["step"].signature
        assert signature.input("past").dtype == signature.output("present").dtype == DType(dtype)
        assert (
            signature.input("memory").dtype == program.functions["encoder"].signature.outputs[0].dtype == DType(dtype)
        )
        assert signature.output("logits").dtype == DType.FLOAT32
        checks = check_program(program, step.loosened(Tolerances()))
        assert [check for check in checks if not check.passed] == []


def test_the_state_of_a_recurrence_stays_float32() -> None:
    text = """
    g (float[t, 1, 4] x) => (float[t, 1, 1, 4] y) {
        h = MatMul (x, w)
        y = GRU <hidden_size = 4> (h, wx, wh)
    }
    """
    weights = {"w": normal(4, 4), "wx": normal(1, 12, 4, seed=1), "wh": normal(1, 12, 4, seed=2)}
    function = lowered(bare(parsed(text, **weights), {"x": normal(3, 1, 4)})).functions["main"]
    (node,) = (node for node in function.computations if node.target is dialect.GRU)
    assert all(operand.meta["val"].dtype == torch.float32 for operand in node.all_input_nodes)


def test_fused_attention_has_its_scores_in_float32() -> None:
    """A product of 300 and 300 times 4 is beyond float16; the softmax of it is not."""
    q, k = (torch.full((1, 1, 4), 300.0, dtype=torch.float16) for _ in range(2))
    past = torch.zeros((1, 1, 2, 4), dtype=torch.float16)
    out, _, _ = dialect.CACHED_ATTENTION(q, k, torch.ones_like(k), past, past, None, 1.0)
    assert out.dtype == torch.float16
    torch.testing.assert_close(out, torch.ones_like(k))


def test_a_normalisation_that_is_written_out_needs_no_cast_inside() -> None:
    program = replace(PROGRAMS["attention"](), models={})
    assert "aten.layer_norm.default" in operators(lowered(program).functions["main"])
