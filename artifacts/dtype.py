"""Tensor element types by their logical name, and what carries them where numpy has no such type."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt


class DType(StrEnum):
    """Logical element type of a tensor, by the name that numpy, ml_dtypes, ONNX and safetensors share."""

    BOOL = "bool"
    INT2 = "int2"
    INT4 = "int4"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT2 = "uint2"
    UINT4 = "uint4"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT4_E2M1FN = "float4_e2m1fn"
    FLOAT8_E4M3FN = "float8_e4m3fn"
    FLOAT8_E4M3FNUZ = "float8_e4m3fnuz"
    FLOAT8_E5M2 = "float8_e5m2"
    FLOAT8_E5M2FNUZ = "float8_e5m2fnuz"
    FLOAT8_E8M0FNU = "float8_e8m0fnu"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    COMPLEX64 = "complex64"
    COMPLEX128 = "complex128"

    @property
    def bits(self) -> int:
        """Bits of one element as ONNX packs it."""
        if self in _PACKED_BITS:
            return _PACKED_BITS[self]
        return self.numpy.itemsize * 8

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The numpy dtype whose bytes hold one element: itself, or an integer of the same width.

        Sub-byte types are carried unpacked, one element in a byte.
        """
        return np.dtype(_CARRIERS.get(self, self.value))

    @property
    def is_native(self) -> bool:
        """True if numpy itself computes with this type."""
        return self not in _CARRIERS

    @property
    def is_float(self) -> bool:
        """True for real floating-point types of any width."""
        return self.value.startswith(("float", "bfloat"))

    @property
    def is_integer(self) -> bool:
        """True for signed and unsigned integers; bool is not one."""
        return self.value.startswith(("int", "uint"))

    @classmethod
    def of(cls, dtype: npt.DTypeLike) -> DType:
        """The logical type of a numpy dtype. Raises ValueError if there is none."""
        return cls(np.dtype(dtype).name)


_CARRIERS: dict[DType, str] = {
    DType.INT2: "int8",
    DType.INT4: "int8",
    DType.UINT2: "uint8",
    DType.UINT4: "uint8",
    DType.FLOAT4_E2M1FN: "uint8",
    DType.FLOAT8_E4M3FN: "uint8",
    DType.FLOAT8_E4M3FNUZ: "uint8",
    DType.FLOAT8_E5M2: "uint8",
    DType.FLOAT8_E5M2FNUZ: "uint8",
    DType.FLOAT8_E8M0FNU: "uint8",
    DType.BFLOAT16: "uint16",
}

_PACKED_BITS: dict[DType, int] = {
    DType.INT2: 2,
    DType.UINT2: 2,
    DType.INT4: 4,
    DType.UINT4: 4,
    DType.FLOAT4_E2M1FN: 4,
}
