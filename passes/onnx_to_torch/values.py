"""Values while a graph is being converted: tensors, and integers that are known without running the model.

Shape arithmetic in ONNX is ordinary tensor arithmetic on int64 tensors. Left as tensors it would hide from
torch.export which sizes are equal, so a value that is known (a shape, a constant index) stays a numpy object
array of Python ints, bools and SymInts. One numpy implementation of an operator then serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from artifacts.dtype import DType

Scalar: TypeAlias = "int | bool | torch.SymInt | torch.SymBool"
# Tables and not conversions of an empty tensor: while a program is traced, tensors have no numpy arrays.
_NUMPY_DTYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.int64: np.dtype(np.int64),
    torch.int32: np.dtype(np.int32),
    torch.bool: np.dtype(np.bool_),
}
_TORCH_DTYPES = {numpy: dtype for dtype, numpy in _NUMPY_DTYPES.items()}
KNOWN_DTYPES = frozenset(_NUMPY_DTYPES)
_BRIEF = 8
KNOWN_LIMIT = 1024
"""Larger integer arrays are data (a vocabulary map, a mask), not shape arithmetic, and stay tensors."""


@dataclass(frozen=True, eq=False)
class Known:
    """An integer or boolean tensor whose elements are known, symbols included.

    `array` has numpy dtype object and the tensor's shape; its elements are int, bool, SymInt or SymBool.
    `weight` gives the constant of the file that the value is, if it is one that is kept as a tensor too.
    """

    array: npt.NDArray[np.object_]
    dtype: torch.dtype = torch.int64
    weight: Callable[[], torch.Tensor] | None = None

    def __post_init__(self) -> None:
        if self.dtype not in KNOWN_DTYPES:
            raise ValueError(f"{self.dtype} is not tracked as a known value")
        if self.array.dtype != np.object_:
            raise ValueError("a known value is an object array")

    @classmethod
    def of(cls, elements: Iterable[Scalar] | Scalar, dtype: torch.dtype = torch.int64) -> Known:
        """A rank-1 value from elements, or a rank-0 value from one scalar."""
        if isinstance(elements, Iterable):
            listed = list(elements)
            array = np.empty(len(listed), dtype=object)
            for position, element in enumerate(listed):
                array[position] = element
            return cls(array, dtype)
        scalar = np.empty((), dtype=object)
        scalar[()] = elements
        return cls(scalar, dtype)

    @classmethod
    def from_numpy(cls, array: npt.NDArray[np.generic]) -> Known:
        """A concrete value. `array` is int32, int64 or bool."""
        return cls(np.asarray(array).astype(object), _TORCH_DTYPES[array.dtype])

    @property
    def elements(self) -> list[Scalar]:
        """Elements in row-major order."""
        return list(self.array.reshape(-1))

    @property
    def is_concrete(self) -> bool:
        """True if no element is a symbol."""
        return all(isinstance(element, (int, bool)) for element in self.elements)

    @property
    def is_brief(self) -> bool:
        """True if a few operators make the tensor: it is short, a progression, or one element repeated."""
        return len(self.elements) <= _BRIEF or self._repeats or self._progression is not None

    @property
    def _repeats(self) -> bool:
        elements = self.elements
        return len(set(map(id, elements))) == 1 or (self.is_concrete and len(set(elements)) == 1)

    @property
    def _progression(self) -> range | None:
        """The range that the elements are, if there are at least three: positions, mostly."""
        elements: list[Any] = self.elements
        if len(elements) < 3 or not self.is_concrete or self.dtype is torch.bool:
            return None
        step = elements[1] - elements[0]
        # Not by listing the range, which arbitrary first elements can make as long as memory.
        if step == 0 or elements != [elements[0] + step * position for position in range(len(elements))]:
            return None
        return range(elements[0], elements[-1] + (1 if step > 0 else -1), step)

    def numpy(self) -> npt.NDArray[np.generic]:
        """The concrete value in its own dtype. Raises TypeError if an element is a symbol."""
        if not self.is_concrete:
            raise TypeError("a symbolic value has no numpy array")
        return self.array.astype(_NUMPY_DTYPES[self.dtype])

    def tensor(self) -> torch.Tensor:
        """The value as a tensor; symbols become scalar tensors that follow the symbol.

        Built from full() and cat() rather than torch.tensor(): export would lift the latter into a named
        constant with an in-place detach, which is not functional.
        """
        if self.weight is not None:
            return self.weight()
        elements: list[Any] = self.elements
        if not elements:
            return torch.empty(self.array.shape, dtype=self.dtype)
        if self._repeats:
            return torch.full(self.array.shape, elements[0], dtype=self.dtype)
        line = self._progression
        if line is not None:
            flat = torch.arange(line.start, line.stop, line.step, dtype=self.dtype)
        else:
            flat = torch.cat([torch.full((1,), element, dtype=self.dtype) for element in elements])
        return flat if self.array.ndim == 1 else flat.reshape(self.array.shape)


@dataclass(frozen=True, eq=False)
class Carried:
    """A tensor of an element type that torch has not, such as int4: one element in each element of `tensor`.

    `tensor` has the type that carries the logical `dtype` (see artifacts/dtype.py): int8, uint8, or uint8 with
    the bits of a float4. Operators that move elements about, casts and (de)quantization take it, others do not.
    """

    tensor: torch.Tensor
    dtype: DType


@dataclass(frozen=True, eq=False)
class Text:
    """Strings, which are always known: `array` has numpy dtype object, its elements are str."""

    array: npt.NDArray[np.object_]


Value: TypeAlias = "torch.Tensor | Known | Carried | Text | list[torch.Tensor] | None"
"""What a name in the graph stands for. None is an absent optional input; a list is an ONNX sequence."""


def to_tensor(value: Value) -> torch.Tensor:
    """A tensor from a tensor or a known value. Raises TypeError for a sequence or an absent input."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, Known):
        return value.tensor()
    raise TypeError(f"expected a tensor, got {type(value).__name__}")


def to_carrier(value: Value) -> torch.Tensor:
    """The same, and a carried value's tensor in its carrier type."""
    return value.tensor if isinstance(value, Carried) else to_tensor(value)


def to_known(value: Value) -> Known:
    """Known elements of a value.

    A tensor that nothing is known about is read element by element, which gives unbacked symbols under
    export: its number of elements has to be fixed.
    """
    if isinstance(value, Known):
        return value
    if isinstance(value, torch.Tensor) and value.dtype in KNOWN_DTYPES:
        array = np.empty(value.numel(), dtype=object)
        for position, element in enumerate(value.reshape(-1).unbind() if value.dim() else [value]):
            array[position] = element.item()
        return Known(array.reshape(tuple(value.shape)), value.dtype)
    raise TypeError(f"expected known integers, got {type(value).__name__}")
