from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import check_op, run_op, sample


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
