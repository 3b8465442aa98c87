from __future__ import annotations

import numpy as np
import onnxruntime
import torch
from hypothesis import given
from hypothesis import strategies as st

from passes.calibration import Affine
from passes.dialect import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE
from passes.quantized_products import channel_codes
from tests.support.programs import normal, parsed


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(-2, 2))
def test_a_value_in_the_range_is_at_most_half_a_step_from_that_of_its_code(
    seed: int, scale: float, shift: float
) -> None:
    values = ((normal(50, seed=seed) + shift) * scale).astype(np.float32)
    codes = Affine.of(float(values.min()), float(values.max()))
    quantized = QUANTIZE(torch.from_numpy(values), codes.scale, codes.zero_point)
    assert quantized.dtype == torch.uint8
    again = DEQUANTIZE(quantized, codes.scale, codes.zero_point).numpy()
    # Both ends may lie half a step beyond the codes, since the zero is rounded as well.
    assert np.abs(again - values).max() <= codes.scale * 1.001
    inside = (codes.zero_point * -codes.scale <= values) & (values <= (255 - codes.zero_point) * codes.scale)
    assert np.abs(again - values)[inside].max(initial=0) <= codes.scale * 0.501


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1]))
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
