"""Tensors between numpy and torch by logical type, bytes shared wherever both can hold them."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import torch

from artifacts.carriers import in_carrier
from artifacts.dtype import DType

_TORCH_DTYPES: dict[DType, torch.dtype] = {
    DType.BOOL: torch.bool,
    DType.INT8: torch.int8,
    DType.INT16: torch.int16,
    DType.INT32: torch.int32,
    DType.INT64: torch.int64,
    DType.UINT8: torch.uint8,
    DType.UINT16: torch.uint16,
    DType.UINT32: torch.uint32,
    DType.UINT64: torch.uint64,
    DType.FLOAT8_E4M3FN: torch.float8_e4m3fn,
    DType.FLOAT8_E4M3FNUZ: torch.float8_e4m3fnuz,
    DType.FLOAT8_E5M2: torch.float8_e5m2,
    DType.FLOAT8_E5M2FNUZ: torch.float8_e5m2fnuz,
    DType.FLOAT8_E8M0FNU: torch.float8_e8m0fnu,
    DType.BFLOAT16: torch.bfloat16,
    DType.FLOAT16: torch.float16,
    DType.FLOAT32: torch.float32,
    DType.FLOAT64: torch.float64,
    DType.COMPLEX64: torch.complex64,
    DType.COMPLEX128: torch.complex128,
}
_LOGICAL_DTYPES = {torch_type: logical for logical, torch_type in _TORCH_DTYPES.items()}

HAS_TORCH_DTYPE = frozenset(_TORCH_DTYPES)
"""The logical types that torch has itself; the rest need a carrier."""


def torch_dtype_of(logical: DType) -> torch.dtype:
    """The torch dtype of a logical type. Raises KeyError where torch has none."""
    return _TORCH_DTYPES[logical]


def logical_dtype(dtype: torch.dtype) -> DType:
    """Our name for a torch dtype. Raises KeyError where we have none."""
    return _LOGICAL_DTYPES[dtype]


def holds(array: npt.NDArray[np.generic], logical: DType) -> bool:
    """True if the array's elements are of the logical type (ml_dtypes included) or of its carrier."""
    return array.dtype == logical.numpy or (array.dtype.name, array.itemsize) == (logical, logical.numpy.itemsize)


def from_numpy(array: npt.NDArray[np.generic], logical: DType) -> torch.Tensor:
    """An array, of the logical type itself (ml_dtypes included) or of its carrier, as a torch tensor.

    The tensor has the carrier's type where torch has not the logical one. Bytes are shared where the array is
    contiguous; a memory-mapped file stays mapped. Raises ValueError for an array of any other type: its bytes would
    be read as something that they are not.
    """
    if not holds(array, logical):
        raise ValueError(f"an array of {array.dtype.name} does not hold {logical}")
    # ascontiguousarray would turn a rank-0 array into rank 1.
    contiguous = array if array.flags.c_contiguous else np.ascontiguousarray(array).reshape(array.shape)
    if not logical.is_native:
        contiguous = in_carrier(contiguous, logical)
    with warnings.catch_warnings():
        # Weights are never written to; the warning is about read-only memory, which is what we want.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        shared = torch.from_numpy(contiguous)
    wanted = _TORCH_DTYPES.get(logical, shared.dtype)
    return shared if shared.dtype == wanted else shared.view(wanted)


def to_numpy(tensor: torch.Tensor) -> npt.NDArray[np.generic]:
    """A tensor as an array of its logical type's carrier, bytes shared where it is contiguous."""
    logical = logical_dtype(tensor.dtype)
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    if not logical.is_native:
        plain = plain.view(_TORCH_DTYPES[DType.of(logical.numpy)])
    array: npt.NDArray[np.generic] = plain.numpy()
    return array
