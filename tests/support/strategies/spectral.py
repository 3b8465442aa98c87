"""Spectra of signals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.makers import output_types
from tests.support.strategies.node import BIT, Node, onnx_type
from tests.support.strategies.table import draws


@draws("DFT")
def dft(node: Node) -> Sequence[Array | None]:
    """By numpy. One side of an inverse transform is left to a test of its own: there it is a real signal."""
    inverse = node.attribute("inverse", BIT)
    one_sided = node.attribute("onesided", st.just(0) if inverse else BIT)
    shape = (node.size(2, 3), node.size(2, 6), 3)
    pair = not one_sided and node.bit()
    data = node.tensor(0, (*shape, 2 if pair else 1))
    axis = node.attribute("axis", st.integers(0, 2), absent=None)
    if axis is None:
        axis = node.choice(0, 1, 2, -2, -3)
    length = np.array(node.size(1, 8), node.dtype(1)) if node.bit() else None
    wide = data.astype(np.float64)
    series = wide[..., 0] + (1j * wide[..., 1] if pair else 0)
    place = axis % 4
    count = None if length is None else int(length)
    transformed = (np.fft.ifft if inverse else np.fft.fft)(series, count, place)
    if one_sided:
        transformed = transformed.take(range(transformed.shape[place] // 2 + 1), place)
    node.expected = [np.stack([transformed.real, transformed.imag], -1).astype(data.dtype)]
    node.tolerance = {"float16": 1e-2, "bfloat16": 0.1, "float64": 1e-9}.get(data.dtype.name, 1e-4)
    return [data, length] if node.has("axis") else [data, length, np.array(axis, np.int64)]


@draws("STFT")
def stft(node: Node) -> Sequence[Array | None]:
    node.attribute("onesided", BIT)
    frame = node.choice(4, 8)
    signal = node.array((2, 24, 1), node.dtype(0, without=("bfloat16", "float16")))
    window = node.array((frame,), signal.dtype, 0, 1) if node.bit() else None
    step, length = (np.array(number, node.dtype(1)) for number in (node.size(1, 5), frame))
    node.tolerance = 1e-4
    return [signal, step, window, length]


@draws("MelWeightMatrix")
def mel_weights(node: Node) -> Sequence[Array | None]:
    node.attribute("output_datatype", output_types(node, "T3", "iuV").map(onnx_type))
    numbers = [node.size(1, 12), node.choice(16, 31, 64), 8192]
    edges = [node.size(0, 500), node.size(900, 4000)]
    node.tolerance = 1e-3
    # Not in half precision, in which the evaluator computes frequencies too.
    reals = node.dtype(3, "f", without=("float16",))
    return [*(np.array(n, node.dtype(0)) for n in numbers), *(np.array(e, reals) for e in edges)]
