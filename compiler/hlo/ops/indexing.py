"""Operators that pick elements by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import torch

from compiler.hlo.registry import lowers

_aten = torch.ops.aten


@lowers(_aten.embedding.default)
def _embedding(table: Any, indices: Any, *_: Any, **__: Any) -> Any:
    return jnp.take(table, indices, axis=0, mode="clip")


@lowers(_aten.index_select.default)
def _index_select(x: Any, axis: int, indices: Any) -> Any:
    return jnp.take(x, indices, axis=axis, mode="clip")


@lowers(_aten.gather.default)
def _gather(x: Any, axis: int, indices: Any, sparse_grad: bool = False) -> Any:  # noqa: ARG001  # of the schema
    # Beside the axis torch takes as many as there are indices, not all that x has.
    cut = tuple(slice(None) if number == axis % x.ndim else slice(size) for number, size in enumerate(indices.shape))
    return jnp.take_along_axis(x[cut], indices, axis=axis, mode="clip")


@lowers(_aten.index.Tensor)
def _index(x: Any, indices: Sequence[Any]) -> Any:
    return x[tuple(slice(None) if index is None else index for index in indices)]
