from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.carriers import widened
from artifacts.dtype import DType
from passes.calibration import Affine
from passes.codes import CODES, CodesName
from passes.dialect import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE
from passes.quantized_products import channel_codes
from passes.torch_dtypes import from_numpy, logical_dtype
from tests.support.programs import Array, normal, parsed


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(-2, 2))
@settings(deadline=None)
def test_a_value_in_the_range_is_at_most_half_a_step_from_that_of_its_code(
    seed: int, scale: float, shift: float
) -> None:
    values = ((normal(50, seed=seed) + shift) * scale).astype(np.float32)
    codes = Affine.of(CODES["uint8"], float(values.min()), float(values.max()))
    quantized = QUANTIZE(torch.from_numpy(values), codes.scale, codes.zero_point)
    assert quantized.dtype == torch.uint8
    again = DEQUANTIZE(quantized, codes.scale, codes.zero_point).numpy()
    # Both ends may lie half a step beyond the codes, since the zero is rounded as well.
    assert np.abs(again - values).max() <= codes.scale * 1.001
    inside = (codes.zero_point * -codes.scale <= values) & (values <= (255 - codes.zero_point) * codes.scale)
    assert np.abs(again - values)[inside].max(initial=0) <= codes.scale * 0.501


FORMS = ("int8", "float8_e4m3fn")


def off_at_most(values: Array, scales: Array | float, codes: CodesName) -> Array:
    """How far a value in the range of its codes may be from that of its code.

    Half a step for int8. A float8 number has three digits after its first: 2^-4 of a normal value, which is 2^-6 steps
    or more, and below that 2^-10 steps.
    """
    if codes == "int8":
        return np.full(values.shape, 0.501) * scales
    return np.where(np.abs(values) >= scales * 2.0**-6, np.abs(values) * 2.0**-4, scales * 2.0**-10) * 1.001


@pytest.mark.parametrize("codes", FORMS)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(-2, 2))
@settings(deadline=None)
def test_symmetric_codes_of_a_range_round_trip(codes: CodesName, seed: int, scale: float, shift: float) -> None:
    values = ((normal(50, seed=seed) + shift) * scale).astype(np.float32)
    affine = Affine.of(CODES[codes], float(values.min()), float(values.max()))
    assert affine.zero_point == 0
    quantized = QUANTIZE(torch.from_numpy(values), affine.scale, 0, codes)
    assert logical_dtype(quantized.dtype) == codes
    again = DEQUANTIZE(quantized, affine.scale, 0).numpy()
    assert (np.abs(again - values) <= off_at_most(values, affine.scale, codes)).all()
    beyond = DEQUANTIZE(QUANTIZE(torch.from_numpy(values * 9), affine.scale, 0, codes), affine.scale, 0).numpy()
    assert np.abs(beyond).max() <= np.abs(values).max() * 1.01, "what is beyond the range is cut off, and is no NaN"


@pytest.mark.parametrize("codes", FORMS)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1]))
@settings(deadline=None)
def test_so_do_those_of_a_weight_by_its_channels(codes: CodesName, seed: int, axis: int) -> None:
    random = np.random.default_rng(seed)
    sizes = 10.0 ** random.integers(-4, 4, (7, 1))
    weight = (random.standard_normal((7, 5)) * sizes).astype(np.float32)
    weight = np.ascontiguousarray(weight.T) if axis else weight
    form = CODES[codes].weights
    carried, scales = channel_codes(weight, axis, None, form)
    again = DEQUANTIZE_CHANNELS(from_numpy(carried, form.dtype), torch.from_numpy(scales), axis).numpy()
    steps = scales.reshape([-1 if i == axis else 1 for i in range(2)])
    assert (np.abs(again - weight) <= off_at_most(weight, np.broadcast_to(steps, weight.shape), codes)).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1]))
@settings(deadline=None)
def test_a_weight_is_at_most_half_a_step_of_its_own_channel_off(seed: int, axis: int) -> None:
    random = np.random.default_rng(seed)
    weight = (
        (random.standard_normal((7, 5)) * 10.0 ** random.integers(-4, 4, (7, 5)[axis])[:, None].T).astype(np.float32)
        if axis
        else (random.standard_normal((7, 5)) * 10.0 ** random.integers(-4, 4, (7, 1))).astype(np.float32)
    )
    codes, scales = channel_codes(weight, axis)
    assert np.abs(codes.astype(int)).max() == 127
    again = DEQUANTIZE_CHANNELS(torch.from_numpy(codes), torch.from_numpy(scales), axis).numpy()
    steps = scales.reshape([-1 if i == axis else 1 for i in range(2)])
    assert (np.abs(again - weight) <= steps * 0.501).all()


def test_a_channel_of_zeros_and_one_of_small_values_beside_a_large_bias_have_codes() -> None:
    weight = np.array([[0, 0], [1e-6, -1e-6]], np.float32)
    codes, scales = channel_codes(weight, 0, np.array([0, 1e-3], np.float32))
    assert codes.tolist() == [[0, 0], [0, 0]]
    np.testing.assert_allclose(scales, [1, 1e-3])


def test_codes_are_those_of_onnx_runtime() -> None:
    """Ties, values beyond the range and a zero that is not in the middle."""
    values = np.array([[-9, -0.25, -0.125, 0, 0.125, 0.375, 0.625, 60, 99]], np.float32)
    model = parsed(
        """g (float[1, 9] x) => (uint8[1, 9] q, float[1, 9] y) {
            scale = Constant <value_float = 0.25> ()
            q = QuantizeLinear (x, scale, zero)
            y = DequantizeLinear (q, scale, zero)
        }""",
        zero=np.array(13, np.uint8),
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected_codes, expected = session.run(None, {"x": values})
    codes = QUANTIZE(torch.from_numpy(values), 0.25, 13)
    np.testing.assert_array_equal(codes.numpy(), expected_codes)
    np.testing.assert_array_equal(DEQUANTIZE(codes, 0.25, 13).numpy(), expected)


@pytest.mark.parametrize(("codes", "onnx_type"), [("int8", 3), ("float8_e4m3fn", 17)])
def test_symmetric_codes_are_those_of_onnx_runtime(codes: CodesName, onnx_type: int) -> None:
    """Every float8 number, the ties between neighbours, what is beside these, and values beyond the range."""
    numbers = widened(np.arange(256, dtype=np.uint8), DType.FLOAT8_E4M3FN)
    numbers = np.sort(numbers[np.isfinite(numbers)])
    ties = (numbers[1:] + numbers[:-1]) / 2
    beside = [np.nextafter(ties, np.float32(end)) for end in (-np.inf, np.inf)]
    values = np.concatenate([numbers, ties, *beside, np.array([449, 1e9, -1e9, 127.5, -128.5], np.float32)]) / 4
    model = parsed(
        f"""g (float[n] x) => (float[n] y) {{
            scale = Constant <value_float = 0.25> ()
            none = Constant <value_float = 0.0> ()
            zero = Cast <to = {onnx_type}> (none)
            q = QuantizeLinear (x, scale, zero)
            y = DequantizeLinear (q, scale, zero)
        }}"""
    )
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": values})
    found = DEQUANTIZE(QUANTIZE(torch.from_numpy(values), 0.25, 0, codes), 0.25, 0).numpy()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("codes", ["uint8", *FORMS])
def test_fakes_and_schemas_are_right(codes: CodesName) -> None:
    # torch cannot compare float8 tensors, as the test of a schema does.
    tests = ("test_faketensor",) if codes == "float8_e4m3fn" else ("test_schema", "test_faketensor")
    x = torch.from_numpy(normal(3, 4))
    quantized = QUANTIZE(x, 0.5, 0, codes)
    torch.library.opcheck(QUANTIZE, (x, 0.5, 0, codes), test_utils=tests)
    torch.library.opcheck(DEQUANTIZE, (quantized, 0.5, 0), test_utils=tests)
    torch.library.opcheck(DEQUANTIZE_CHANNELS, (quantized, torch.ones(4), 1), test_utils=tests)
