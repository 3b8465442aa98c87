"""How far an output may be from the source model's, and by how much it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from artifacts.carriers import widened
from artifacts.dtype import DType
from artifacts.noun import Noun

Array = npt.NDArray[Any]
Bound = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_CHUNK_ELEMENTS = 1 << 18
"""Elements compared at a time: temporaries stay near 10 MB whatever the tensors' size."""


class Tolerance(Noun):
    """An element passes if |actual - expected| <= atol + rtol * |expected| + scale * max |expected|.

    The last term is normwise: the rounding error of a sum is in proportion to its terms, not to what is left of
    them. It makes one bound right for logits of 20 and for logits of 0.02; the maximum is over the whole tensor,
    infinities left out.
    """

    atol: Bound
    rtol: Bound
    scale: Bound = 0.0

    def or_looser(self, other: Tolerance) -> Tolerance:
        """The larger of each of the two's terms."""
        return Tolerance(
            atol=max(self.atol, other.atol), rtol=max(self.rtol, other.rtol), scale=max(self.scale, other.scale)
        )


EXACT = Tolerance(atol=0.0, rtol=0.0)

TOLERANCES: Mapping[DType, Tolerance] = MappingProxyType(
    {
        DType.FLOAT64: Tolerance(atol=1e-12, rtol=1e-10, scale=1e-10),
        DType.COMPLEX128: Tolerance(atol=1e-12, rtol=1e-10, scale=1e-10),
        DType.FLOAT32: Tolerance(atol=1e-6, rtol=1e-5, scale=5e-5),
        DType.COMPLEX64: Tolerance(atol=1e-6, rtol=1e-5, scale=5e-5),
        DType.FLOAT16: Tolerance(atol=1e-3, rtol=5e-3, scale=5e-3),
        DType.BFLOAT16: Tolerance(atol=1e-2, rtol=2e-2, scale=2e-2),
        DType.FLOAT8_E4M3FN: Tolerance(atol=6.25e-2, rtol=1.25e-1, scale=1.25e-1),
        DType.FLOAT8_E4M3FNUZ: Tolerance(atol=6.25e-2, rtol=1.25e-1, scale=1.25e-1),
        DType.FLOAT8_E5M2: Tolerance(atol=1.25e-1, rtol=2.5e-1, scale=2.5e-1),
        DType.FLOAT8_E5M2FNUZ: Tolerance(atol=1.25e-1, rtol=2.5e-1, scale=2.5e-1),
    }
)
"""For types that are not here, equality. The bounds leave room for another order of summation in a deep
network: in the largest element some 500 units in the last place for float32, 10 for float16, 5 for bfloat16, 2 for
the 8-bit types."""


def tolerance_for(dtype: DType) -> Tolerance:
    """The default tolerance of an element type; integers, bool and the rest must be equal."""
    return TOLERANCES.get(dtype, EXACT)


@dataclass(frozen=True)
class Comparison:
    """What a comparison of two tensors found.

    `max_abs` is the largest |actual - expected|, `max_rel` the largest of that over |expected| where
    expected is not 0. `required` is the smallest factor on the tolerance with which every element passes;
    `worst` is the index of the element that needs it, None if all are equal. A NaN or an infinity on one
    side only makes all three infinite. `mismatched` counts the elements that fail. `reason` says why shapes
    or types do not compare, and is empty if they do.
    """

    tolerance: Tolerance
    max_abs: float
    max_rel: float
    required: float
    worst: tuple[int, ...] | None
    mismatched: int
    size: int
    reason: str = ""

    @property
    def passed(self) -> bool:
        """True if every element is within the tolerance."""
        return not self.reason and self.mismatched == 0

    def __str__(self) -> str:
        if self.reason:
            return self.reason
        text = f"max_abs {self.max_abs:.3g}, max_rel {self.max_rel:.3g}, {self.required:.3g} of the tolerance"
        return text if self.passed else f"{text}; {self.mismatched} of {self.size} differ, worst at {self.worst}"


def compare(expected: Array, actual: Array, tolerance: Tolerance, dtype: DType | None = None) -> Comparison:
    """Compare a tensor with the one expected, element by element in float64.

    `dtype` is the logical type where the arrays hold a carrier (bfloat16 as uint16). NaN equals NaN in the
    same place, an infinity equals only itself. Shapes and array types must agree. Integers are subtracted
    exactly. A complex element differs by the absolute value of the difference.
    """
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        reason = f"expected {expected.dtype}{list(expected.shape)}, got {actual.dtype}{list(actual.shape)}"
        return Comparison(tolerance, math.inf, math.inf, math.inf, None, actual.size, actual.size, reason)
    floor = tolerance.atol + tolerance.scale * _largest(expected, dtype) if tolerance.scale else tolerance.atol
    max_abs = max_rel = required = 0.0
    worst = -1
    mismatched = 0
    start = 0
    chunks = np.nditer(
        [expected, actual],
        flags=["external_loop", "buffered", "zerosize_ok"],
        order="C",
        buffersize=_CHUNK_ELEMENTS,
    )
    # Infinities and NaN are values like others here: what they make of a quotient is sorted out below.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for left, right in chunks if expected.size else ():
            difference, magnitude = _distance(left, right, dtype)
            allowed = floor + tolerance.rtol * magnitude
            equal = difference == 0
            within = equal | ((difference <= allowed) & np.isfinite(difference))
            factor = np.where(equal, 0.0, difference / allowed)
            factor[np.isnan(factor)] = np.inf
            relative = np.where(equal | (magnitude == 0), 0.0, difference / magnitude)
            relative[np.isinf(difference)] = np.inf
            at = int(factor.argmax())
            if factor[at] > required:
                required, worst = float(factor[at]), start + at
            max_abs = max(max_abs, float(difference.max()))
            max_rel = max(max_rel, float(relative.max()))
            mismatched += within.size - int(np.count_nonzero(within))
            start += within.size
    index = None if worst < 0 else tuple(int(i) for i in np.unravel_index(worst, expected.shape))
    return Comparison(tolerance, max_abs, max_rel, required, index, mismatched, expected.size)


def _largest(array: Array, dtype: DType | None) -> float:
    """The largest finite |element|, 0 if there is none."""
    largest = 0.0
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK_ELEMENTS):
        chunk = flat[start : start + _CHUNK_ELEMENTS]
        values = widened(chunk, dtype) if dtype is not None and not dtype.is_native else chunk
        magnitude = np.abs(values.astype(np.complex128 if values.dtype.kind == "c" else np.float64))
        largest = max(largest, float(magnitude[np.isfinite(magnitude)].max(initial=0.0)))
    return largest


def _distance(left: Array, right: Array, dtype: DType | None) -> tuple[Array, Array]:
    """|right - left| and |left| in float64, flat. Equal elements, NaN with NaN too, are at distance 0."""
    if dtype is not None and not dtype.is_native:
        left, right = widened(left, dtype), widened(right, dtype)
    if left.dtype.kind in "biu":
        low, high = np.minimum(left, right), np.maximum(left, right)
        # Two's complement wraps to the exact difference, which always fits 64 unsigned bits.
        difference = (high.astype(np.uint64) - low.astype(np.uint64)).astype(np.float64)
        return difference, np.abs(left.astype(np.float64))
    wide = np.complex128 if left.dtype.kind == "c" else np.float64
    difference = np.abs(right.astype(wide) - left.astype(wide))
    magnitude = np.abs(left.astype(wide))
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    difference = np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))
    return difference, magnitude
