"""Pooling over windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from compiler.hlo.registry import lowers

_aten = torch.ops.aten


def _each(values: Sequence[int] | int, rank: int) -> tuple[int, ...]:
    found = (values,) if isinstance(values, int) else tuple(values)
    return found * rank if len(found) == 1 else found


def _windows(
    x: Any, size: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool
) -> tuple[tuple[int, ...], tuple[int, ...], list[tuple[int, int]]]:
    """Window, strides and padding of every axis. With `ceil` a last window may reach beyond the end."""
    lead, pads = x.ndim - len(size), []
    for number, (width, step, pad) in enumerate(zip(size, stride, padding, strict=True)):
        length = x.shape[lead + number]
        count = (length + 2 * pad - width) // step + 1
        if ceil and -(-(length + 2 * pad - width) // step) * step < length + pad:
            count = -(-(length + 2 * pad - width) // step) + 1
        pads.append((pad, max((count - 1) * step + width - length - pad, pad)))
    return (1,) * lead + tuple(size), (1,) * lead + tuple(stride), [(0, 0)] * lead + pads


@lowers(_aten.max_pool1d.default, _aten.max_pool2d.default, _aten.max_pool3d.default)
def _max_pool(  # the arguments of the schema
    x: Any,
    size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil: bool = False,
) -> Any:
    rank = len(size)
    if any(step != 1 for step in _each(dilation, rank)):
        raise NotImplementedError("dilated windows")
    window, strides, pads = _windows(x, size, _each(stride, rank) if stride else size, _each(padding, rank), ceil)
    least = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else np.iinfo(x.dtype).min
    return jax.lax.reduce_window(x, jnp.asarray(least, x.dtype), jax.lax.max, window, strides, pads)


@lowers(_aten.avg_pool1d.default, _aten.avg_pool2d.default, _aten.avg_pool3d.default)
def _avg_pool(  # the arguments of the schema
    x: Any,
    size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil: bool = False,
    counts_padding: bool = True,
    divisor: int | None = None,
) -> Any:
    rank = len(size)
    around = _each(padding, rank)
    window, strides, pads = _windows(x, size, _each(stride, rank) if stride else size, around, ceil)
    zero = jnp.zeros((), x.dtype)
    total = jax.lax.reduce_window(x, zero, jax.lax.add, window, strides, pads)
    if divisor is not None:
        return total / divisor
    # How many elements a window has, the padding that was asked for among them or not: known from the sizes.
    ones = np.ones(x.shape[x.ndim - rank :], x.dtype)
    if counts_padding:
        ones = np.pad(ones, [(pad, pad) for pad in around], constant_values=1)
    more = [
        (before - pad * counts_padding, after - pad * counts_padding)
        for (before, after), pad in zip(pads[x.ndim - rank :], around, strict=True)
    ]
    with jax.ensure_compile_time_eval():
        counted = jax.lax.reduce_window(
            jnp.asarray(ones), zero, jax.lax.add, window[x.ndim - rank :], strides[x.ndim - rank :], more
        )
    return total / counted


@lowers(_aten.adaptive_avg_pool1d.default, _aten.adaptive_avg_pool2d.default)
def _adaptive_avg_pool(x: Any, sizes: Sequence[int]) -> Any:
    lead = x.ndim - len(sizes)
    if any(x.shape[lead + number] % size for number, size in enumerate(sizes)):
        raise NotImplementedError("adaptive windows of different sizes")
    size = [x.shape[lead + number] // wanted for number, wanted in enumerate(sizes)]
    return _avg_pool(x, size)
