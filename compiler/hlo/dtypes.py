"""Element types as an accelerator has them: whole numbers of 32 bits stand for those of 64."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import torch

_TYPES: Mapping[torch.dtype, Any] = MappingProxyType(
    {
        torch.float32: jnp.float32,
        torch.float16: jnp.float16,
        torch.bfloat16: jnp.bfloat16,
        torch.float64: jnp.float64,
        torch.int64: jnp.int32,
        torch.int32: jnp.int32,
        torch.int16: jnp.int16,
        torch.int8: jnp.int8,
        torch.uint8: jnp.uint8,
        torch.bool: jnp.bool_,
    }
)


def jax_dtype(dtype: torch.dtype) -> Any:
    """The type in JAX. Raises KeyError for one that accelerators lack (complex numbers, say)."""
    return _TYPES[dtype]


def torch_dtype(dtype: Any) -> torch.dtype:
    """The type in torch of an array."""
    return next(found for found, own in _TYPES.items() if own == dtype and found != torch.int64)


def is_known(dtype: torch.dtype) -> bool:
    """Whether there is such a type."""
    return dtype in _TYPES
