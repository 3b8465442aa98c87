"""Matrices of weights in 8 or 4 bits: every row in blocks, each with one scale.

A weight w of a block with scale s is stored as the code c = round(w / s) + z, where z is 128 or 8, and stands for
s (c - z). In 8 bits s is the block's largest |w| over 127, so that no weight is off by more than s / 2. In 4 bits
there are only 16 codes, one more below z than above: s is that one, of a few that make the largest weight the last
code or cut it off a little, with which the block loses least in squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SMALLEST_BLOCK, LARGEST_BLOCK = 16, 256

_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8)
"""Of a 4-bit block's largest weight, what the last code stands for."""

_ROWS = 4096
"""Rows that are looked at together, so that temporaries stay small beside the matrix."""

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class QuantizedBlocks:
    """A matrix of `rows` rows: `codes` uint8 [rows, blocks, block * bits / 8], `scales` float32 [rows, blocks].

    Two codes of 4 bits share a byte, the first of them in its lower half.
    """

    codes: Codes
    scales: Floats


def zero_code(bits: int) -> int:
    """The code that stands for 0."""
    return 1 << (bits - 1)


def block_for(size: int, most: int) -> int | None:
    """The longest block, a power of two up to `most`, that rows of this size divide into; None if they do not."""
    block = most
    while block >= SMALLEST_BLOCK:
        if size % block == 0:
            return block
        block //= 2
    return None


def quantized_blocks(matrix: Floats, bits: int, block: int) -> QuantizedBlocks:
    """Quantise `matrix` float32 [rows, size], one row or more, in 8 or 4 bits.

    Raises ValueError if a weight is not finite.
    """
    if not np.isfinite(matrix).all():
        raise ValueError("its weights are not all finite")
    parts = [_quantized(matrix[i : i + _ROWS], bits, block) for i in range(0, len(matrix), _ROWS)]
    return QuantizedBlocks(np.concatenate([p.codes for p in parts]), np.concatenate([p.scales for p in parts]))


def _quantized(matrix: Floats, bits: int, block: int) -> QuantizedBlocks:
    blocks = matrix.reshape(len(matrix), -1, block)
    if bits == 8:
        scales = np.abs(blocks).max(2) / np.float32(127)
        return QuantizedBlocks(_coded(blocks, scales, bits), scales)
    place = np.abs(blocks).argmax(2)
    largest = np.take_along_axis(blocks, place[:, :, None], 2)[:, :, 0]
    best = np.zeros_like(largest)
    least = np.full(largest.shape, np.inf, np.float32)
    for share in _SHARES:
        for last in (-8, 7):
            scales = largest * np.float32(share / last)
            lost = ((_coded(blocks, scales, bits).astype(np.float32) - 8) * scales[:, :, None] - blocks) ** 2
            better = lost.sum(2) < least
            best, least = np.where(better, scales, best), np.where(better, lost.sum(2), least)
    codes = _coded(blocks, best, bits)
    return QuantizedBlocks((codes[:, :, ::2] | (codes[:, :, 1::2] << 4)).astype(np.uint8), best)


def _coded(blocks: Floats, scales: Floats, bits: int) -> Codes:
    """One code a byte."""
    zero = zero_code(bits)
    lowest = 1 - zero if bits == 8 else -zero
    # A scale of 0, or one too small to divide by, is that of zeros.
    usable = np.abs(scales) >= np.finfo(np.float32).tiny
    divisor = np.where(usable, scales, np.inf)[:, :, None]
    return (np.clip(np.rint(blocks / divisor), lowest, zero - 1) + zero).astype(np.uint8)
