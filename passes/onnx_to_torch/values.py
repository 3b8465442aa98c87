"""Values while a graph is being converted: tensors, and integers that are known without running the model.

Shape arithmetic in ONNX is ordinary tensor arithmetic on int64 tensors. Left as tensors it would hide from
torch.export which sizes are equal, so a value that is known (a shape, a constant index) stays a numpy object
array of Python ints, bools and SymInts. One numpy implementation of an operator then serves both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

Scalar: TypeAlias = "int | bool | torch.SymInt | torch.SymBool"
KNOWN_DTYPES = frozenset({torch.int64, torch.int32, torch.bool})
KNOWN_LIMIT = 1024
"""Larger integer arrays are data (a vocabulary map, a mask), not shape arithmetic, and stay tensors."""


@dataclass(frozen=True, eq=False)
class Known:
    """An integer or boolean tensor whose elements are known, symbols included.

    `array` has numpy dtype object and the tensor's shape; its elements are int, bool, SymInt or SymBool.
    """

    array: npt.NDArray[np.object_]
    dtype: torch.dtype = torch.int64

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
        return cls(np.asarray(array).astype(object), torch.from_numpy(np.empty(0, array.dtype)).dtype)

    @property
    def elements(self) -> list[Scalar]:
        """Elements in row-major order."""
        return list(self.array.reshape(-1))

    @property
    def is_concrete(self) -> bool:
        """True if no element is a symbol."""
        return all(isinstance(element, (int, bool)) for element in self.elements)

    def numpy(self) -> npt.NDArray[np.generic]:
        """The concrete value in its own dtype. Raises TypeError if an element is a symbol."""
        if not self.is_concrete:
            raise TypeError("a symbolic value has no numpy array")
        return self.array.astype(torch.empty(0, dtype=self.dtype).numpy().dtype)

    def tensor(self) -> torch.Tensor:
        """The value as a tensor; symbols become scalar tensors that follow the symbol.

        Built from full() and cat() rather than torch.tensor(): export would lift the latter into a named
        constant with an in-place detach, which is not functional.
        """
        elements: list[Any] = self.elements
        if not elements:
            return torch.empty(self.array.shape, dtype=self.dtype)
        if len(set(map(id, elements))) == 1:
            return torch.full(self.array.shape, elements[0], dtype=self.dtype)
        line = _progression(elements) if self.is_concrete and self.dtype is not torch.bool else None
        if line is not None:
            flat = torch.arange(line.start, line.stop, line.step, dtype=self.dtype)
        else:
            flat = torch.cat([torch.full((1,), element, dtype=self.dtype) for element in elements])
        return flat if self.array.ndim == 1 else flat.reshape(self.array.shape)


def _progression(elements: list[int]) -> range | None:
    """The range that these elements are, if there are at least three: positions, mostly."""
    step = elements[1] - elements[0] if len(elements) > 2 else 0
    if step == 0:
        return None
    # Not by listing the range, which arbitrary first elements can make as long as memory.
    if elements != [elements[0] + step * position for position in range(len(elements))]:
        return None
    return range(elements[0], elements[-1] + (1 if step > 0 else -1), step)


Value: TypeAlias = "torch.Tensor | Known | list[torch.Tensor] | None"
"""What a name in the graph stands for. None is an absent optional input; a list is an ONNX sequence."""


def to_tensor(value: Value) -> torch.Tensor:
    """A tensor from a tensor or a known value. Raises TypeError for a sequence or an absent input."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, Known):
        return value.tensor()
    raise TypeError(f"expected a tensor, got {type(value).__name__}")


def to_known(value: Value) -> Known:
    """Known elements of a value.

    A tensor that nothing is known about is read element by element, which gives unbacked symbols under
    export: its number of elements has to be fixed.
    """
    if isinstance(value, Known):
        return value
    if isinstance(value, torch.Tensor) and value.dtype in KNOWN_DTYPES:
        array = np.empty(value.numel(), dtype=object)
        for position, element in enumerate(value.reshape(-1).unbind()):
            array[position] = element.item()
        return Known(array.reshape(tuple(value.shape)), value.dtype)
    raise TypeError(f"expected known integers, got {type(value).__name__}")
