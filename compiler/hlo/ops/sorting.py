"""Sorts, in reductions by one operator each: accelerators' compilers document no sort, and no top-k of whole numbers.

Equal elements stay in the order of their places, and NaN is larger than every number, as torch has both. There are two
forms. Where few are wanted, the first is looked for so many times, among those that were not found before. Where there
are few elements, the place of each is the number of those that come before it, and all pairs are compared.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from compiler.hlo.registry import lowers
from compiler.hlo.sorts import MOST_ROUNDS, refusal

_aten = torch.ops.aten


@lowers(_aten.sort.stable)
def _sort_stable(
    x: Any,
    *,
    stable: bool | None = None,  # noqa: ARG001  # of the schema: every sort here is
    dim: int = -1,
    descending: bool = False,
    count: int | None = None,
) -> tuple[Any, Any]:
    return firsts(x, dim, descending, count)


@lowers(_aten.sort.default)
def _sort(x: Any, dim: int = -1, descending: bool = False, count: int | None = None) -> tuple[Any, Any]:
    return firsts(x, dim, descending, count)


@lowers(_aten.topk.default)
def _topk(
    x: Any,
    count: int,
    axis: int = -1,
    largest: bool = True,
    in_order: bool = True,  # noqa: ARG001  # of the schema: they are
) -> tuple[Any, Any]:
    return firsts(x, axis, largest, count)


def firsts(x: Any, axis: int, descending: bool, count: int | None = None) -> tuple[Any, Any]:
    """The first `count` elements in order along an axis, all if None, and their places, int32.

    Raises NotImplementedError where neither form is of a reasonable size.
    """
    if x.ndim == 0:
        return x, jnp.zeros((), jnp.int32)
    size = x.shape[axis]
    count = size if count is None else min(count, size)
    reason = refusal(size, count)
    if reason is not None:
        raise NotImplementedError(reason)
    given = x.astype(jnp.int32) if x.dtype == jnp.bool_ else x
    if count <= MOST_ROUNDS:
        return _in_rounds(given, axis % x.ndim, descending, count)
    values, places = _compared(jnp.moveaxis(given, axis, -1), descending)
    return jnp.moveaxis(values[..., :count], -1, axis), jnp.moveaxis(places[..., :count], -1, axis)


def _in_rounds(x: Any, axis: int, descending: bool, count: int) -> tuple[Any, Any]:
    size, is_nan = x.shape[axis], _is_nan(x)
    places = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis)
    extreme, last = (jnp.max, _least(x.dtype)) if descending else (jnp.min, _most(x.dtype))
    free = jnp.ones(x.shape, jnp.bool_)
    values, found = [], []
    for _ in range(count):
        # Either all that can be next are NaN, or none is.
        leading = jnp.logical_and(free, is_nan if descending else ~is_nan)
        next_ones = jnp.where(_any_of(leading, axis), leading, free)
        best = extreme(jnp.where(next_ones, x, last), axis, keepdims=True)
        equal = jnp.logical_and(next_ones, jnp.logical_or(x == best, is_nan))
        place = jnp.min(jnp.where(equal, places, size), axis, keepdims=True)
        here = places == place
        values.append(jnp.max(jnp.where(here, x, _least(x.dtype)), axis, keepdims=True))
        found.append(place)
        free = jnp.logical_and(free, ~here)
    if not count:
        empty = jax.lax.slice_in_dim(x, 0, 0, axis=axis)
        return empty, empty.astype(jnp.int32)
    return jnp.concatenate(values, axis), jnp.concatenate(found, axis)


def _compared(x: Any, descending: bool) -> tuple[Any, Any]:
    """Along the last axis, all of them."""
    size, is_nan = x.shape[-1], _is_nan(x)
    one, other = x[..., :, None], x[..., None, :]
    one_nan, other_nan = is_nan[..., :, None], is_nan[..., None, :]
    if descending:
        before = jnp.logical_or(one > other, jnp.logical_and(one_nan, ~other_nan))
    else:
        before = jnp.logical_or(one < other, jnp.logical_and(other_nan, ~one_nan))
    alike = jnp.logical_or(one == other, jnp.logical_and(one_nan, other_nan))
    earlier = np.arange(size)[:, None] < np.arange(size)[None, :]
    comes_before = jnp.logical_or(before, jnp.logical_and(alike, earlier))
    rank = jnp.sum(comes_before.astype(jnp.int32), -2)
    is_here = rank[..., :, None] == jnp.arange(size, dtype=jnp.int32)
    values = jnp.max(jnp.where(is_here, one, _least(x.dtype)), -2)
    places = jnp.max(jnp.where(is_here, jnp.arange(size, dtype=jnp.int32)[:, None], 0), -2)
    return values, places


def _is_nan(x: Any) -> Any:
    return jnp.isnan(x) if jnp.issubdtype(x.dtype, jnp.floating) else jnp.zeros(x.shape, jnp.bool_)


def _any_of(x: Any, axis: int) -> Any:
    """Whether one is true, by the maximum of whole numbers: no reduction by "or" is documented."""
    return jnp.max(x.astype(jnp.int32), axis, keepdims=True) > 0


def _least(dtype: Any) -> Any:
    return jnp.asarray(-np.inf if jnp.issubdtype(dtype, jnp.floating) else np.iinfo(dtype).min, dtype)


def _most(dtype: Any) -> Any:
    return jnp.asarray(np.inf if jnp.issubdtype(dtype, jnp.floating) else np.iinfo(dtype).max, dtype)
