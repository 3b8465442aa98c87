from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passes.quantized_blocks import Floats, QuantizedBlocks, block_for, quantized_blocks, zero_code
from tests.support.programs import normal


def values_of(found: QuantizedBlocks, bits: int) -> Floats:
    """What the codes stand for, [rows, size]."""
    codes = found.codes
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], 3).reshape(*codes.shape[:2], -1)
    values: Floats = (codes.astype(np.float32) - zero_code(bits)) * found.scales[:, :, None]
    return values.reshape(len(codes), -1)


@st.composite
def matrices(draw: st.DrawFn) -> tuple[Floats, int]:
    """Rows of one to three blocks whose magnitudes differ, with rows of zeros."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    block = draw(st.sampled_from([16, 32, 64]))
    rows, blocks = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    matrix = random.normal(size=(rows, blocks * block)) * 10.0 ** random.integers(-30, 6, (rows, 1))
    matrix *= random.integers(0, 4, (rows, 1)) > 0
    return matrix.astype(np.float32), block


@given(matrices())
def test_in_8_bits_no_weight_is_off_by_more_than_half_a_step(drawn: tuple[Floats, int]) -> None:
    matrix, block = drawn
    found = quantized_blocks(matrix, 8, block)
    steps = np.repeat(found.scales, block, 1)
    assert (np.abs(values_of(found, 8) - matrix) <= steps * (0.5 + 1e-4)).all()
    assert found.codes.shape == (len(matrix), matrix.shape[1] // block, block)


@given(matrices())
def test_in_4_bits_a_block_loses_no_more_than_if_its_largest_weight_were_the_last_code(
    drawn: tuple[Floats, int],
) -> None:
    matrix, block = drawn
    found = quantized_blocks(matrix, 4, block)
    assert found.codes.shape == (len(matrix), matrix.shape[1] // block, block // 2)
    blocks = matrix.astype(np.float64).reshape(len(matrix), -1, block)
    lost = (values_of(found, 4).reshape(blocks.shape).astype(np.float64) - blocks) ** 2
    # With the largest weight as code 7, no weight is off by more than half of a seventh of it.
    worst = block * (np.abs(blocks).max(2, initial=0) / 14) ** 2
    assert (lost.sum(2) <= worst * (1 + 1e-3) + np.finfo(np.float32).tiny).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_zeros_stay_zeros(bits: int) -> None:
    assert not values_of(quantized_blocks(np.zeros((2, 32), np.float32), bits, 16), bits).any()


@pytest.mark.parametrize("bits", [8, 4])
def test_the_largest_weight_of_a_block_has_its_own_code(bits: int) -> None:
    matrix = np.zeros((1, 16), np.float32)
    matrix[0, 3] = -2
    np.testing.assert_array_equal(values_of(quantized_blocks(matrix, bits, 16), bits), matrix)


def test_two_codes_of_4_bits_share_a_byte_the_first_one_below() -> None:
    matrix = np.zeros((1, 16), np.float32)
    matrix[0, :2] = -8, 7
    codes = quantized_blocks(matrix, 4, 16).codes
    assert (codes[0, 0, 0] & 15, codes[0, 0, 0] >> 4) in {(0, 15), (15, 1)}
    assert codes[0, 0, 1] == 8 + (8 << 4)


@pytest.mark.parametrize("weight", [np.inf, -np.inf, np.nan])
def test_weights_that_are_not_finite_are_refused(weight: float) -> None:
    matrix = normal(2, 16)
    matrix[1, 5] = weight
    with pytest.raises(ValueError, match="finite"):
        quantized_blocks(matrix, 8, 16)


@pytest.mark.parametrize(
    ("size", "most", "block"), [(512, 128, 128), (96, 128, 32), (16, 128, 16), (64, 32, 32), (24, 128, None)]
)
def test_a_block_is_the_longest_power_of_two_that_rows_divide_into(size: int, most: int, block: int | None) -> None:
    assert block_for(size, most) == block
