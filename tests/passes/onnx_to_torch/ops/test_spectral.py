from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, check_op, run_op, sample


@FEW
@given(
    rows=st.integers(2, 4),
    size=st.integers(2, 9),
    length=st.none() | st.integers(1, 12),
    complex_input=st.booleans(),
    inverse=st.booleans(),
    opset=st.sampled_from([17, 20]),
)
def test_dft_of_the_middle_axis(
    rows: int, size: int, length: int | None, complex_input: bool, inverse: bool, opset: int
) -> None:
    data = sample((rows, size, 3, 2 if complex_input else 1))
    count = None if length is None else np.array(length, np.int64)
    axis = [] if opset == 17 else [np.array(1, np.int64)]
    attributes = {"axis": 1} if opset == 17 else {}
    if not inverse:
        check_op("DFT", [data, count, *axis], opset, attributes=attributes, tolerance=1e-4)
    series = data[..., 0] + (1j * data[..., 1] if complex_input else 0)
    wanted = np.fft.ifft(series, length, 1) if inverse else np.fft.fft(series, length, 1)
    expected = np.stack([wanted.real, wanted.imag], -1).astype(np.float32)
    given_attributes = {**attributes, "inverse": int(inverse)}
    check_op("DFT", [data, count, *axis], opset, attributes=given_attributes, expected=[expected], tolerance=1e-4)


@pytest.mark.parametrize("size", [4, 5])
def test_one_side_there_and_back(size: int) -> None:
    data = sample((2, size, 1))
    half = run_op("DFT", [data, None, np.array(1)], 20, attributes={"onesided": 1})[0]
    assert half.shape == (2, size // 2 + 1, 2)
    attributes = {"onesided": 1, "inverse": 1}
    check_op("DFT", [half, np.array(size), np.array(1)], 20, attributes=attributes, expected=[data], tolerance=1e-5)


def test_dft_exports_with_a_symbolic_size() -> None:
    check_op("DFT", [sample((2, 6, 1))], 20, symbolic=[sample((3, 9, 1))], tolerance=1e-4)


@pytest.mark.parametrize("one_sided", [0, 1])
@pytest.mark.parametrize("window", [True, False])
def test_stft(one_sided: int, window: bool) -> None:
    shape = None if not window else np.hanning(8).astype(np.float32)
    inputs = [sample((2, 32, 1)), np.array(5), shape, np.array(8)]
    check_op("STFT", inputs, 17, attributes={"onesided": one_sided}, tolerance=1e-4)


def test_stft_exports_with_a_symbolic_size() -> None:
    first, second = ([sample((n, size, 1)), np.array(5), None, np.array(8)] for n, size in ((2, 32), (3, 45)))
    check_op("STFT", first, 17, constants=(1, 3), symbolic=second, tolerance=1e-4)


@FEW
@given(bins=st.integers(1, 12), length=st.sampled_from([16, 31, 64]), lower=st.floats(0, 500), top=st.floats(900, 4000))
def test_mel_weights(bins: int, length: int, lower: float, top: float) -> None:
    edges = [np.array(edge, np.float32) for edge in (lower, top)]
    numbers = [np.array(number, np.int64) for number in (bins, length, 8192)]
    check_op("MelWeightMatrix", [*numbers, *edges], 17, constants=(0, 1, 2))
