"""Reductions, norms and softmax.

The place of a largest element is written with reductions by one operator each, since compilers for accelerators do not
say that they take one of pairs: the maximum, what is equal to it, and the least of those places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import torch

from compiler.hlo.registry import lowers

_aten = torch.ops.aten

Axes = int | Sequence[int] | None


def _axes(x: Any, axes: Axes) -> tuple[int, ...]:
    if axes is None or (not isinstance(axes, int) and not axes):
        return tuple(range(x.ndim))
    return (axes,) if isinstance(axes, int) else tuple(axes)


@lowers(_aten.sum.dim_IntList)
def _sum(x: Any, axes: Axes, keepdim: bool = False, **_: Any) -> Any:
    return jnp.sum(x, _axes(x, axes), keepdims=keepdim)


@lowers(_aten.sum.default)
def _sum_all(x: Any, **_: Any) -> Any:
    return jnp.sum(x)


@lowers(_aten.mean.dim)
def _mean(x: Any, axes: Axes, keepdim: bool = False, **_: Any) -> Any:
    return jnp.mean(x, _axes(x, axes), keepdims=keepdim)


@lowers(_aten.mean.default)
def _mean_all(x: Any, **_: Any) -> Any:
    return jnp.mean(x)


@lowers(_aten.prod.dim_int)
def _prod(x: Any, axis: int, keepdim: bool = False, **_: Any) -> Any:
    return jnp.prod(x, axis, keepdims=keepdim)


@lowers(_aten.amax.default)
def _amax(x: Any, axes: Axes = (), keepdim: bool = False) -> Any:
    return jnp.max(x, _axes(x, axes), keepdims=keepdim)


@lowers(_aten.amin.default)
def _amin(x: Any, axes: Axes = (), keepdim: bool = False) -> Any:
    return jnp.min(x, _axes(x, axes), keepdims=keepdim)


def _any_of(x: Any, axes: Axes, keepdims: bool = False) -> Any:
    """Whether one is not 0, by the maximum of whole numbers: no reduction by "or" is documented."""
    return jnp.max((x != 0).astype(jnp.int32), _axes(x, axes), keepdims=keepdims, initial=0) > 0


def _all_of(x: Any, axes: Axes, keepdims: bool = False) -> Any:
    return jnp.min((x != 0).astype(jnp.int32), _axes(x, axes), keepdims=keepdims, initial=1) > 0


@lowers(_aten.any.dim, _aten.any.dims)
def _any(x: Any, axes: Axes = None, keepdim: bool = False) -> Any:
    return _any_of(x, axes, keepdim)


@lowers(_aten.any.default)
def _any_of_all(x: Any) -> Any:
    return _any_of(x, None)


@lowers(_aten.all.dim, _aten.all.dims)
def _all(x: Any, axes: Axes = None, keepdim: bool = False) -> Any:
    return _all_of(x, axes, keepdim)


@lowers(_aten.all.default)
def _all_of_everything(x: Any) -> Any:
    return _all_of(x, None)


@lowers(_aten.cumsum.default)
def _cumsum(x: Any, axis: int, **_: Any) -> Any:
    return jnp.cumsum(x.astype(jnp.int32) if x.dtype == jnp.bool_ else x, axis)


def first_largest(x: Any, axis: int) -> Any:
    """The place, int32, of the largest element along an axis, the first of equal ones; of NaN if there is one."""
    return _first(x, axis, jnp.max)


def _first(x: Any, axis: int, extreme: Callable[..., Any]) -> Any:
    size = x.shape[axis]
    # NaN is more extreme than every number, and equal to none.
    beats = jnp.isnan(x) if jnp.issubdtype(x.dtype, jnp.floating) else jnp.zeros(x.shape, jnp.bool_)
    found = jnp.logical_or(
        beats, jnp.logical_and(x == extreme(x, axis, keepdims=True), ~_any_of(beats, axis, keepdims=True))
    )
    places = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis % x.ndim)
    return jnp.min(jnp.where(found, places, size), axis)


@lowers(_aten.argmax.default)
def _argmax(x: Any, axis: int | None = None, keepdim: bool = False) -> Any:
    return _place(x, axis, keepdim, jnp.max)


@lowers(_aten.argmin.default)
def _argmin(x: Any, axis: int | None = None, keepdim: bool = False) -> Any:
    return _place(x, axis, keepdim, jnp.min)


def _place(x: Any, axis: int | None, keepdim: bool, extreme: Callable[..., Any]) -> Any:
    found = _first(x.reshape(-1), 0, extreme) if axis is None else _first(x, axis, extreme)
    if not keepdim:
        return found
    return found.reshape((1,) * x.ndim) if axis is None else jnp.expand_dims(found, axis)


@lowers(_aten.max.dim)
def _max_dim(x: Any, axis: int, keepdim: bool = False) -> tuple[Any, Any]:
    return jnp.max(x, axis, keepdims=keepdim), _argmax(x, axis, keepdim)


@lowers(_aten.min.dim)
def _min_dim(x: Any, axis: int, keepdim: bool = False) -> tuple[Any, Any]:
    return jnp.min(x, axis, keepdims=keepdim), _argmin(x, axis, keepdim)


@lowers(_aten.logsumexp.default)
def _logsumexp(x: Any, axes: Axes, keepdim: bool = False) -> Any:
    return jax.nn.logsumexp(x, _axes(x, axes), keepdims=keepdim)


@lowers(_aten.softmax.int, _aten._softmax.default)
def _softmax(x: Any, axis: int, more: Any = None) -> Any:
    from compiler.hlo.dtypes import jax_dtype

    return jax.nn.softmax(x.astype(jax_dtype(more)) if isinstance(more, torch.dtype) else x, axis)


@lowers(_aten.log_softmax.int, _aten._log_softmax.default)
def _log_softmax(x: Any, axis: int, more: Any = None) -> Any:
    from compiler.hlo.dtypes import jax_dtype

    return jax.nn.log_softmax(x.astype(jax_dtype(more)) if isinstance(more, torch.dtype) else x, axis)


@lowers(_aten.layer_norm.default)
def _layer_norm(
    x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any, **__: Any
) -> Any:
    """Ba et al. 2016, arXiv:1607.06450; sums are float32."""
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    wide = x.astype(jnp.float32)
    centred = wide - jnp.mean(wide, axes, keepdims=True)
    result = centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axes, keepdims=True) + eps)
    result = result if weight is None else result * weight
    return (result if bias is None else result + bias).astype(x.dtype)


@lowers(_aten.batch_norm.default)
def _batch_norm(  # noqa: PLR0913, PLR0917  # the arguments of the schema
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    training: bool,
    momentum: float,  # noqa: ARG001
    eps: float,
    cudnn: bool,  # noqa: ARG001
) -> Any:
    """Ioffe and Szegedy 2015, arXiv:1502.03167, with fixed statistics."""
    if training:
        raise NotImplementedError("a batch normalisation that trains")
    shape = (1, -1) + (1,) * (x.ndim - 2)
    scale = jax.lax.rsqrt(variance + eps)
    result = (x - mean.reshape(shape)) * scale.reshape(shape)
    result = result if weight is None else result * weight.reshape(shape)
    return result if bias is None else result + bias.reshape(shape)


@lowers(_aten.group_norm.default)
def _group_norm(
    x: Any,
    groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn: bool = True,  # noqa: ARG001
) -> Any:
    """Wu and He 2018, arXiv:1803.08494."""
    split = x.reshape((x.shape[0], groups, -1)).astype(jnp.float32)
    centred = split - jnp.mean(split, 2, keepdims=True)
    result = centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), 2, keepdims=True) + eps)
    result, shape = result.reshape(x.shape), (1, -1) + (1,) * (x.ndim - 2)
    result = result if weight is None else result * weight.reshape(shape)
    return (result if bias is None else result + bias.reshape(shape)).astype(x.dtype)
