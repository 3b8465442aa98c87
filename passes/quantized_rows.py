"""The rows of a head in 7 bits, and how far a score computed with them can be from the one that the full product gives.

For one hidden state h and one row w of the head, with bias b, the full product gives fl(h w + b). Write u for 2^-24,
the unit roundoff of float32, g(n) = n u / (1 - n u) (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
lemma 3.1), |.| for the Euclidean length, and d for the size of h.

1. In whatever order the additions are done, |fl(h w + b) - (h w + b)| <= g(d + 1) (|h| |w| + |b|).
2. h = p + e, where p = s (y - z) is what the bytes y say, with one scale and one zero, whoever chose them; and w is
   scaled to q = t c, of integers c_j from -63 to 63 and one number t. So h w = p q + e q + h (w - q), and
   h w <= p q + |e| |q| + |h| |w - q|.
3. p q = s t (y - z) c, where (y - z) c is an integer that the engine computes exactly; in float32 and scaled it is off
   by at most 4 u |p| |q| <= 4 u (|h| + |e|) |q|. The e that is computed, h less p in float32, is off by at most
   2.1 u (|h| + 2 |e|).

So with G = g(d + 16), which also covers the few operations in float32 that the bound itself takes,

    fl(h w + b)  <=  fl(p q + B) + |h| (|w - q| + (G + 16 u) (|w| + |q|)) (1 + 2 G) + |e| |q| (1 + 2 G)
    where B = b + (G + 16 u) |b| + d 2^-125

has room for what products can lose that are too small for float32. Two computed scores of one row, its own and the
full product's, differ by at most 2 (G + 16 u) (|h| |w| + |b|), the difference of two such scores by twice that.

Why 7 bits: processors without VNNI add pairs of byte products in 16 bits that saturate, and 2 * 255 * 63 does not reach
that; so the integer is exact on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LARGEST_CODE = 63
ROUNDOFF = 2.0**-24
LOST = 2.0**-125
"""More than a product in float32 can lose to underflow, where results that are too small become zero."""

_BLOCK = 4096
"""Rows that are looked at together: in float64 a whole head would take four times its weights."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class QuantizedRows:
    """A head of `tokens` rows of one size: `codes` int8 [size, tokens], `scales` float32 [tokens].

    `bounds` float32 [2, tokens] are the factors of |h| and |e| in the bound, `ceilings` float32 [tokens] its B;
    `margins` float32 [2] are those of |h| and of 1 in the most that the difference of two computed scores can change.
    """

    codes: npt.NDArray[np.int8]
    scales: Floats
    bounds: Floats
    ceilings: Floats
    margins: Floats


def quantized_rows(rows: Floats, bias: Floats) -> QuantizedRows:
    """Quantise `rows` float32 [tokens, size], each by its largest value. `bias` float32 [tokens] may have -inf.

    Raises ValueError for rows that are not finite, and a bias that is NaN or infinity.
    """
    if not np.isfinite(rows).all() or np.isnan(bias).any() or (bias == np.inf).any():
        raise ValueError("a bound needs finite weights")
    tokens, size = rows.shape
    terms = size + 16
    order = terms * ROUNDOFF / (1 - terms * ROUNDOFF)
    slack, inflated = order + 16 * ROUNDOFF, 1 + 2 * order
    codes = np.empty((size, tokens), np.int8)
    scales = np.empty(tokens, np.float32)
    bounds = np.empty((2, tokens), np.float32)
    longest = 0.0
    for begin in range(0, tokens, _BLOCK):
        block = slice(begin, begin + _BLOCK)
        exact = rows[block].astype(np.float64)
        scales[block] = np.maximum(np.abs(rows[block]).max(1), np.finfo(np.float32).tiny * LARGEST_CODE) / LARGEST_CODE
        scale = scales[block].astype(np.float64)[:, None]
        code = np.clip(np.rint(exact / scale), -LARGEST_CODE, LARGEST_CODE)
        codes[:, block] = code.T.astype(np.int8)
        length, coded, error = (np.linalg.norm(part, axis=1) for part in (exact, code * scale, exact - code * scale))
        bounds[0, block] = _up((error + slack * (length + coded)) * inflated)
        bounds[1, block] = _up(coded * inflated)
        longest = max(longest, float(length.max(initial=0)))
    is_open = np.isfinite(bias)
    finite = np.where(is_open, bias, 0).astype(np.float64)
    ceilings = np.where(is_open, _up(finite + slack * np.abs(finite) + size * LOST), np.float32(-np.inf))
    largest = float(np.abs(finite).max(initial=0))
    margins = 4 * slack * inflated * np.array([longest, largest]) + (0, 4 * size * LOST)
    return QuantizedRows(codes, scales, bounds, ceilings, _up(margins))


def _up(values: npt.NDArray[np.float64]) -> Floats:
    """The values in float32, none smaller than before."""
    return np.nextafter(values.astype(np.float32), np.float32(np.inf))
