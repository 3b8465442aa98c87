"""Values of the element types that numpy lacks, from the integers that carry them.

Floating-point layouts: the OCP 8-bit and microscaling (MX) format specifications for e4m3fn, e5m2, e8m0 and
e2m1; the "fnuz" variants have no negative zero, no infinity, one NaN (0x80) and a bias greater by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.dtype import DType

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Layout:
    exponent_bits: int
    mantissa_bits: int
    bias: int


_LAYOUTS = {
    DType.FLOAT4_E2M1FN: _Layout(2, 1, 1),
    DType.FLOAT8_E4M3FN: _Layout(4, 3, 7),
    DType.FLOAT8_E4M3FNUZ: _Layout(4, 3, 8),
    DType.FLOAT8_E5M2: _Layout(5, 2, 15),
    DType.FLOAT8_E5M2FNUZ: _Layout(5, 2, 16),
}


def in_carrier(array: Array, dtype: DType) -> Array:
    """An array of the logical type itself, as ml_dtypes has it, in its carrier type; bytes are shared if they can be.

    Raises ValueError for an array of any other type: its bytes would be read as something that they are not.
    """
    carrier = dtype.numpy
    if array.dtype == carrier:
        return array
    if (array.dtype.name, array.dtype.itemsize) != (dtype.value, carrier.itemsize):
        raise ValueError(f"an array of {array.dtype.name} does not hold {dtype}")
    # ml_dtypes keeps int2 and int4 in the low bits of a byte; the carrier extends their sign.
    return array.astype(carrier) if dtype in (DType.INT2, DType.INT4) else array.view(carrier)


def widened(carrier: Array, dtype: DType) -> Array:
    """The values of a carrier array as a type that numpy computes with, exactly; same shape.

    float32 for the low-precision floats. Integers below 8 bits, and types that numpy has itself, come back as
    they are. `carrier` must have the type `dtype.numpy`, else ValueError.
    """
    if carrier.dtype != dtype.numpy:
        raise ValueError(f"{dtype} travels as {dtype.numpy}, not as {carrier.dtype}")
    if dtype is DType.BFLOAT16:
        return (carrier.astype(np.uint32) << 16).view(np.float32)
    if dtype.is_native or dtype.is_integer:
        return carrier
    return _table(dtype)[carrier]


@cache
def _table(dtype: DType) -> npt.NDArray[np.float32]:
    """The value of each of the 256 bytes, float32 [256]. A 4-bit type is the low half of its byte."""
    code = np.arange(256, dtype=np.int64)
    if dtype is DType.FLOAT8_E8M0FNU:
        return np.where(code == 255, np.nan, np.ldexp(1.0, code - 127)).astype(np.float32)
    layout = _LAYOUTS[dtype]
    width = layout.exponent_bits + layout.mantissa_bits
    exponent = (code >> layout.mantissa_bits) & ((1 << layout.exponent_bits) - 1)
    mantissa = code & ((1 << layout.mantissa_bits) - 1)
    fraction = mantissa / (1 << layout.mantissa_bits) + (exponent > 0)
    value = np.ldexp(fraction, np.maximum(exponent, 1) - layout.bias)
    magnitude = code & ((1 << width) - 1)
    if dtype is DType.FLOAT8_E4M3FN:
        value = np.where(magnitude == 0x7F, np.nan, value)
    if dtype is DType.FLOAT8_E5M2:
        value = np.where(magnitude == 0x7C, np.inf, np.where(magnitude > 0x7C, np.nan, value))
    value = np.where((code >> width) & 1, -value, value)
    if dtype in (DType.FLOAT8_E4M3FNUZ, DType.FLOAT8_E5M2FNUZ):
        value = np.where(code == 0x80, np.nan, value)
    table: npt.NDArray[np.float32] = value.astype(np.float32)
    return table
