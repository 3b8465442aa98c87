"""DFT, STFT and MelWeightMatrix: spectra of signals. A complex number is a pair along the last axis."""

from __future__ import annotations

import math

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, always, arange, equal, integers, numbers
from passes.onnx_to_torch.precision import computed
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.tensors import torch_dtype
from passes.onnx_to_torch.values import Known


@op("DFT", 17, shapes=(1,))
def dft_along_attribute(call: Call, data: torch.Tensor, length: Known | None = None) -> torch.Tensor:
    return _dft(call, data, length, call.attr_int("axis"))


@op("DFT", 20, shapes=(1, 2))
def dft(call: Call, data: torch.Tensor, length: Known | None = None, axis: Known | None = None) -> torch.Tensor:
    return _dft(call, data, length, -2 if axis is None else numbers(axis)[0])


@op("STFT", 17, shapes=(1, 3))
def stft(
    call: Call,
    signal: torch.Tensor,
    step: Known,
    window: torch.Tensor | None = None,
    frame_length: Known | None = None,
) -> torch.Tensor:
    """`signal` [N, samples, 1 or 2] in frames: [N, frames, frequencies, 2]. No sample is made up at the ends."""
    hop = integers(step)[0]
    size = signal.shape[1] if window is None else window.shape[0]
    length = size if frame_length is None else integers(frame_length)[0]
    frames = (signal.shape[1] - length) // hop + 1
    places = (arange(frames) * as_int(hop)).unsqueeze(1) + arange(length)
    series = _series(signal.to(computed(signal.dtype)))[:, places]
    if window is not None:
        series = series * window.to(computed(window.dtype))
    return torch.view_as_real(_transformed(series, None, -1, bool(call.attr_int("onesided")))).to(signal.dtype)


@op("MelWeightMatrix", 17, shapes=(0, 1, 2))
def mel_weight_matrix(
    call: Call, bins: Known, length: Known, rate: Known, lower: torch.Tensor, upper: torch.Tensor
) -> torch.Tensor:
    """Triangles over the frequencies 0..length/2 with equal steps in mel: [length // 2 + 1, bins].

    mel = 2595 * log10(1 + hertz / 700), O'Shaughnessy 1987; edges are rounded down to frequencies of the DFT.
    """
    count, size, per_second = (as_int(integers(operand)[0]) for operand in (bins, length, rate))
    low, high = (2595 * torch.log1p(edge.reshape(()) / 700) / math.log(10) for edge in (lower, upper))
    mel = arange(count + 2).double() * ((high - low) / (count + 2)) + low
    hertz = 700 * torch.expm1(mel / 2595 * math.log(10))
    edges = torch.floor((size + 1) * hertz / per_second)
    left, centre, right = (edges.narrow(0, start, count) for start in range(3))
    place = arange(size // 2 + 1, dtype=torch.float64).unsqueeze(1)
    rises = (place >= left) & (place <= centre)
    # A triangle without a rising side is 1 at its top.
    weight = torch.where(rises, torch.where(centre > left, (place - left) / (centre - left).clamp(min=1), 1.0), 0.0)
    falls = (place >= centre) & (place < right)
    weight = torch.where(falls, (right - place) / (right - centre).clamp(min=1), weight)
    return weight.to(torch_dtype(call.attr_int("output_datatype"), call.label))


def _dft(call: Call, data: torch.Tensor, length: Known | None, axis: int) -> torch.Tensor:
    axis %= data.dim()
    size = None if length is None else integers(length)[0]
    one_sided = bool(call.attr_int("onesided"))
    series = _series(data.to(computed(data.dtype)))
    if not call.attr_int("inverse"):
        return torch.view_as_real(_transformed(series, size, axis, one_sided)).to(data.dtype)
    count = None if size is None else as_int(size)
    if not series.is_complex():
        series = torch.complex(series, torch.zeros_like(series))
    if one_sided:  # of a real signal, whose other half mirrors what is given
        real: torch.Tensor = torch.fft.irfft(series, count, axis)
        return real.unsqueeze(-1).to(data.dtype)
    return torch.view_as_real(torch.fft.ifft(series, count, axis)).to(data.dtype)


def _transformed(series: torch.Tensor, size: Int | None, axis: int, one_sided: bool) -> torch.Tensor:
    """A complex spectrum; the first half and the middle if `one_sided`. A size cuts the series or adds zeros."""
    count = None if size is None else as_int(size)
    if one_sided and not series.is_complex():
        half: torch.Tensor = torch.fft.rfft(series, count, axis)
        return half
    spectrum: torch.Tensor = torch.fft.fft(series, count, axis)
    return spectrum.narrow(axis, 0, spectrum.shape[axis] // 2 + 1) if one_sided else spectrum


def _series(data: torch.Tensor) -> torch.Tensor:
    """Real or complex numbers, from one or two of them along the last axis; a signal [N, samples] is real."""
    if data.dim() == 2:
        return data
    if always(equal(data.shape[-1], 1)):
        return data.squeeze(-1)
    return torch.complex(*data.unbind(-1))
