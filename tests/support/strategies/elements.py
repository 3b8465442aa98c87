"""Random elements of every element type that ONNX has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from artifacts.dtype import DType
from tests.support.onnx_ops import Array


def elements(
    shape: Sequence[int], dtype: np.dtype[Any], seed: int, low: float = -4, high: float = 4, edges: bool = False
) -> Array:
    """Uniform in low..high as far as the type has that; booleans are fair coins.

    With `edges` about every third element is one at which computations go wrong: zeros of either sign, one,
    infinities, NaN, and the greatest and smallest numbers, as far as the type has them.
    """
    generator = np.random.default_rng(seed)
    drawn = _uniform(generator, shape, dtype, low, high)
    if not edges or dtype == np.bool_:
        return drawn
    special = _edges(dtype)
    return np.where(generator.random(shape) < 0.3, generator.choice(special, shape), drawn).astype(dtype)


def _uniform(
    generator: np.random.Generator, shape: Sequence[int], dtype: np.dtype[Any], low: float, high: float
) -> Array:
    logical = DType.of(dtype)
    if logical is DType.BOOL:
        return np.asarray(generator.integers(0, 2, shape), bool)
    if dtype.kind == "c":
        return np.asarray(generator.uniform(low, high, shape) + 1j * generator.uniform(low, high, shape), dtype)
    if not logical.is_integer:
        drawn = generator.uniform(max(low, 0.25) if logical is DType.FLOAT8_E8M0FNU else low, high, shape)
        return np.asarray(drawn, np.float32 if dtype.kind == "V" else dtype).astype(dtype)
    limits = _limits(dtype)
    bounds = max(int(np.ceil(low)), limits[0]), min(int(np.floor(high)), limits[1])
    return np.asarray(generator.integers(*bounds, shape, np.uint64 if bounds[1] >= 2**63 else np.int64, True)).astype(
        dtype
    )


def _edges(dtype: np.dtype[Any]) -> Array:
    logical = DType.of(dtype)
    if logical.is_integer:
        return np.array([*_limits(dtype), 0, 1], dtype)
    numbers = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan]
    if logical in (DType.FLOAT16, DType.BFLOAT16, DType.FLOAT32, DType.FLOAT64):
        greatest = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
        numbers += [greatest, -greatest]
    return np.array(numbers).astype(dtype)


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The least and the greatest integer of a type."""
    found = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
    return int(found.min), int(found.max)
