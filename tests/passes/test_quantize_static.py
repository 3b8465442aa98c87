from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from artifacts.checks import Tolerances
from artifacts.dtype import DType
from artifacts.schedule import Decode
from passes.calibration import Method
from passes.codes import CodesName
from passes.decode import greedy
from passes.dialect import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE
from passes.interpreter import Observer, call
from passes.program import Program
from passes.quantize_static import QuantizeStatic
from passes.verification import check_program
from tests.support.decoder_programs import decoder_program
from tests.support.programs import PROGRAMS, normal, operators, parsed, program_of


def quantized(program: Program, step: QuantizeStatic | None = None) -> Program:
    result = (step or QuantizeStatic())(program)
    assert result.modified
    return result.program


def scales_of(program: Program, function: str) -> list[float]:
    return [float(str(n.args[1])) for n in program.functions[function].computations if n.target is QUANTIZE]


@pytest.mark.parametrize("method", ["min-max", "percentile", "entropy"])
@pytest.mark.parametrize("name", ["tied_perceptron", "attention", "filled_convolution", "two_models"])
def test_it_stays_within_its_tolerance(name: str, method: Method) -> None:
    step = QuantizeStatic(method=method)
    checks = check_program(quantized(PROGRAMS[name](), step), step.loosened(Tolerances()))
    if method != "entropy":  # which clips for a long tail: a dozen samples have none
        assert [str(check.comparison) for check in checks if not check.passed] == []
    assert any(check.comparison.max_abs > 0 for check in checks), "nothing was rounded"


@pytest.mark.parametrize("codes", ["int8", "float8_e4m3fn"])
@pytest.mark.parametrize("name", ["tied_perceptron", "attention", "filled_convolution", "two_models"])
def test_so_it_does_with_symmetric_codes_whose_biases_are_float32(name: str, codes: CodesName) -> None:
    step = QuantizeStatic(codes=codes)
    after = quantized(PROGRAMS[name](), step)
    checks = check_program(after, step.loosened(Tolerances()))
    assert [str(check.comparison) for check in checks if not check.passed] == []
    assert any(check.comparison.max_abs > 0 for check in checks), "nothing was rounded"
    for function in after.functions.values():
        assert {ref.dtype for ref in function.weights.values()} <= {DType(codes), DType.FLOAT32, DType.INT64}
        assert DType(codes) in {ref.dtype for ref in function.weights.values()}
        rounded = [node for node in function.computations if node.target is QUANTIZE]
        assert {node.args[2:] for node in rounded} == {(0, codes)}


def test_a_symmetric_scale_is_that_of_the_largest_magnitude() -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { y = MatMul (x, w) }"
    x = normal(3, 4)
    program = program_of(parsed(text, w=normal(4, 4)), [{"x": x}])
    for codes, largest in (("int8", 127), ("float8_e4m3fn", 448)):
        step = QuantizeStatic(codes=codes)  # type: ignore[arg-type]  # a name from a tuple is a str to mypy
        assert scales_of(quantized(program, step), "main") == [pytest.approx(np.abs(x).max() / largest)]


def test_a_weight_that_nothing_else_uses_is_there_in_bytes_alone() -> None:
    before = PROGRAMS["two_models"]()
    after = quantized(before)
    for name, function in after.functions.items():
        sizes = {ref.dtype: ref.size for ref in function.weights.values() if len(ref.shape) == 2}
        assert set(sizes) <= {DType.INT8, DType.FLOAT32}
        assert sizes[DType.INT8] in {ref.size for ref in before.functions[name].weights.values()}


def test_an_embedding_that_is_the_head_too_stays_for_its_look_up() -> None:
    function = quantized(PROGRAMS["attention"]()).functions["main"]
    assert sorted(str(ref.dtype) for ref in function.weights.values() if ref.size == 13 * 16) == ["float32", "int8"]


def test_ranges_come_from_the_calibration_and_from_the_samples_if_there_is_none() -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { y = MatMul (x, w) }"
    program = program_of(parsed(text, w=normal(4, 4)), [{"x": normal(3, 4)}])
    (model,) = program.models.values()
    wide = replace(
        model, calibration=({"x": np.full((1, 4), 51, np.float32)}, {"x": np.full((2, 4), -204, np.float32)})
    )
    x = normal(3, 4)
    assert scales_of(quantized(program), "main") == [pytest.approx((x.max() - x.min()) / 255)]
    assert scales_of(quantized(replace(program, models={"main": wide})), "main") == [pytest.approx(1.0)]


def test_a_decode_is_calibrated_on_the_tokens_that_it_makes() -> None:
    program = decoder_program("cached")
    (model,) = program.models.values()
    requests = ({"x": normal(2, 4, seed=5)},)
    after = quantized(replace(program, models={"decoder": replace(model, calibration=requests)}))
    found: list[torch.Tensor] = []

    def watch(function: str) -> Observer:
        def observe(node: torch.fx.Node, value: object) -> None:
            if function == "step" and node.name == "matmul_1" and isinstance(value, torch.Tensor):
                found.append(value)

        return observe

    assert isinstance(model.schedule, Decode)
    greedy(program, model.schedule, requests[0], 2, model.schedule.generation.max_new_tokens, watch)
    values = torch.cat([value.flatten() for value in found])
    least, greatest = min(float(values.min()), 0), max(float(values.max()), 0)
    assert scales_of(after, "step") == [pytest.approx((greatest - least) / 255)]
    checks = check_program(after, QuantizeStatic().loosened(Tolerances()))
    assert len(checks) >= 4


def test_a_convolution_takes_its_normalisation_in_and_gives_codes() -> None:
    text = """g (float[n, 2, 5, 5] x) => (float[n, 3, 5, 5] y) {
        a = Conv (x, w)
        b = BatchNormalization (a, gain, shift, mean, var)
        c = Relu (b)
        d = Conv (c, v)
        e = Conv (x, u)
        s = Add (d, e)
        r = Relu (s)
        y = Conv (r, v)
    }"""
    weights = {name: normal(3, seed=i) for i, name in enumerate(("gain", "shift", "mean"))}
    weights |= {"var": np.abs(normal(3, seed=3)) + 1, "w": normal(3, 2, 1, 1), "v": normal(3, 3, 1, 1)}
    program = program_of(parsed(text, u=normal(3, 2, 1, 1, seed=8), **weights), [{"x": normal(2, 2, 5, 5)}])
    after = quantized(program)
    function = after.functions["main"]
    assert "aten.batch_norm.default" not in operators(function)
    for node in function.computations:
        if node.target is torch.ops.aten.conv2d.default:
            assert [n.target for n in node.all_input_nodes[:2]] == [DEQUANTIZE, DEQUANTIZE_CHANNELS]
        if node.target in (torch.ops.aten.add.Tensor, torch.ops.aten.relu.default):
            assert node.target is torch.ops.aten.relu.default or {n.target for n in node.all_input_nodes} == {
                DEQUANTIZE
            }
    assert check_program(after, QuantizeStatic().loosened(Tolerances()))[0].passed


def test_a_residual_that_a_product_takes_keeps_its_precision_for_others() -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { h = Tanh (x) a = MatMul (h, w) y = Add (a, h) }"
    function = quantized(program_of(parsed(text, w=normal(4, 4)), [{"x": normal(3, 4)}])).functions["main"]
    (added,) = (node for node in function.computations if node.target is torch.ops.aten.add.Tensor)
    assert torch.ops.aten.tanh.default in {node.target for node in added.all_input_nodes}


def test_candidates_are_products_and_a_kept_one_stays() -> None:
    program = PROGRAMS["attention"]()
    candidates = QuantizeStatic().candidates(program)
    assert len(candidates) == 4, "three projections and the head; scores and their sum have no weights"
    for candidate in candidates:
        function = quantized(program, QuantizeStatic(keep=(candidate,))).functions["main"]
        assert len([n for n in function.computations if n.target is DEQUANTIZE_CHANNELS]) == 3
    assert not QuantizeStatic(keep=candidates)(program).modified


def test_values_beyond_the_calibrated_range_are_those_of_its_ends() -> None:
    text = "g (float[n, 1] x) => (float[n, 1] y) { y = MatMul (x, w) }"
    program = program_of(parsed(text, w=np.ones((1, 1), np.float32)), [{"x": np.array([[0], [2.55]], np.float32)}])
    results = call(quantized(program), "main", {"x": np.array([[-5], [1], [99]], np.float32)})
    np.testing.assert_allclose(results["y"][:, 0].astype(float), np.array([0, 1, 2.55]), atol=1e-5)
