"""The codes that values are rounded to: integers in equal steps around a zero, or 8-bit floating-point numbers.

No torch here: a target says by name which codes its runtime takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from artifacts.dtype import DType

CodesName = Literal["uint8", "int8", "float8_e4m3fn"]
"""Codes of activations, by the name of their element type."""


@dataclass(frozen=True)
class Format:
    """An element type of 8 bits and its extremes; what lies beyond them is cut off.

    `largest` is the code of the largest magnitude: int8 goes one further down than up, and uses that for clipping only.
    """

    dtype: DType
    least: int
    largest: int

    @property
    def steps(self) -> int:
        """How many steps of one the codes span."""
        return self.largest - self.least


UINT8 = Format(DType.UINT8, 0, 255)
INT8 = Format(DType.INT8, -128, 127)
FLOAT8_E4M3FN = Format(DType.FLOAT8_E4M3FN, -448, 448)

FORMATS: Mapping[str, Format] = MappingProxyType({each.dtype.value: each for each in (UINT8, INT8, FLOAT8_E4M3FN)})


@dataclass(frozen=True)
class Codes:
    """How products are written on codes.

    `data` is what activations become, `weights` what weights do. If `zero_moves`, an activation's codes are spread over
    exactly the range that was seen, and the code of 0 is where it falls; else 0 is 0, and the range is that of the
    largest magnitude. If `codes_biases`, a bias is given in the steps in which a kernel has its sums, int32; else it
    stays float32.
    """

    data: Format
    weights: Format
    zero_moves: bool
    codes_biases: bool


CODES: Mapping[CodesName, Codes] = MappingProxyType(
    {
        "uint8": Codes(UINT8, INT8, zero_moves=True, codes_biases=True),
        "int8": Codes(INT8, INT8, zero_moves=False, codes_biases=False),
        "float8_e4m3fn": Codes(FLOAT8_E4M3FN, FLOAT8_E4M3FN, zero_moves=False, codes_biases=False),
    }
)
