"""Operators that only move elements, or make some that are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import torch

from compiler.hlo.dtypes import jax_dtype
from compiler.hlo.registry import lowers

_aten = torch.ops.aten


@lowers(
    _aten.clone.default,
    _aten.contiguous.default,
    _aten.alias.default,
    _aten.detach.default,
    _aten.lift_fresh_copy.default,
)
def _same(x: Any, **_: Any) -> Any:
    return x


@lowers(_aten.to.dtype, _aten._to_copy.default, _aten.to.dtype_layout)
def _to(x: Any, dtype: torch.dtype | None = None, *_: Any, **__: Any) -> Any:
    return x if dtype is None else x.astype(jax_dtype(dtype))


@lowers(_aten.view.default, _aten.reshape.default, _aten._unsafe_view.default)
def _reshape(x: Any, shape: Sequence[int]) -> Any:
    return jnp.reshape(x, shape)


@lowers(_aten.flatten.using_ints)
def _flatten(x: Any, start: int = 0, end: int = -1) -> Any:
    start, end = start % x.ndim, end % x.ndim
    return jnp.reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


@lowers(_aten.permute.default)
def _permute(x: Any, order: Sequence[int]) -> Any:
    return jnp.transpose(x, order)


@lowers(_aten.transpose.int)
def _transpose(x: Any, one: int, other: int) -> Any:
    return jnp.swapaxes(x, one, other)


@lowers(_aten.t.default)
def _t(x: Any) -> Any:
    return x.T


@lowers(_aten.unsqueeze.default)
def _unsqueeze(x: Any, axis: int) -> Any:
    return jnp.expand_dims(x, axis)


@lowers(_aten.squeeze.dim, _aten.squeeze.dims)
def _squeeze(x: Any, axes: int | Sequence[int]) -> Any:
    wanted = [axes] if isinstance(axes, int) else axes
    return jnp.squeeze(x, tuple(axis for axis in wanted if x.shape[axis] == 1))


@lowers(_aten.squeeze.default)
def _squeeze_all(x: Any) -> Any:
    return jnp.squeeze(x)


@lowers(_aten.expand.default)
def _expand(x: Any, shape: Sequence[int], implicit: bool = False) -> Any:  # noqa: ARG001  # of the schema
    lead = len(shape) - x.ndim
    sizes = [x.shape[number - lead] if size == -1 else size for number, size in enumerate(shape)]
    return jnp.broadcast_to(x, sizes)


@lowers(_aten.expand_as.default)
def _expand_as(x: Any, other: Any) -> Any:
    return jnp.broadcast_to(x, other.shape)


@lowers(_aten.cat.default)
def _cat(xs: Sequence[Any], axis: int = 0) -> Any:
    # torch leaves out empty vectors, whatever the rank of the others.
    rank = max(x.ndim for x in xs)
    return jnp.concatenate([x for x in xs if x.ndim == rank], axis)


@lowers(_aten.stack.default)
def _stack(xs: Sequence[Any], axis: int = 0) -> Any:
    return jnp.stack(xs, axis)


@lowers(_aten.slice.Tensor)
def _slice(x: Any, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    index = [slice(None)] * x.ndim
    index[axis] = slice(start, end, step)
    return x[tuple(index)]


@lowers(_aten.narrow.default)
def _narrow(x: Any, axis: int, start: int, length: int) -> Any:
    return _slice(x, axis, start, start + length)


@lowers(_aten.select.int)
def _select(x: Any, axis: int, index: int) -> Any:
    return jnp.squeeze(_slice(x, axis, index % x.shape[axis], index % x.shape[axis] + 1), axis)


@lowers(_aten.split_with_sizes.default)
def _split_with_sizes(x: Any, sizes: Sequence[int], axis: int = 0) -> list[Any]:
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return [_slice(x, axis, end - size, end) for size, end in zip(sizes, ends, strict=True)]


@lowers(_aten.split.Tensor)
def _split(x: Any, size: int, axis: int = 0) -> list[Any]:
    count = x.shape[axis]
    return [_slice(x, axis, start, min(start + size, count)) for start in range(0, count, size)]


@lowers(_aten.chunk.default)
def _chunk(x: Any, chunks: int, axis: int = 0) -> list[Any]:
    size = -(-x.shape[axis] // chunks)
    return [_slice(x, axis, start, start + size) for start in range(0, x.shape[axis], size)]


@lowers(_aten.unbind.int)
def _unbind(x: Any, axis: int = 0) -> list[Any]:
    return [_select(x, axis, index) for index in range(x.shape[axis])]


@lowers(_aten.flip.default)
def _flip(x: Any, axes: Sequence[int]) -> Any:
    return jnp.flip(x, axes)


@lowers(_aten.roll.default)
def _roll(x: Any, shifts: Sequence[int], axes: Sequence[int] = ()) -> Any:
    return jnp.roll(x, tuple(shifts), tuple(axes)) if axes else jnp.roll(x, shifts[0])


@lowers(_aten.repeat.default)
def _repeat(x: Any, counts: Sequence[int]) -> Any:
    return jnp.tile(x, counts)


@lowers(_aten.constant_pad_nd.default)
def _pad(x: Any, pads: Sequence[int], value: float = 0) -> Any:
    pairs = [(0, 0)] * (x.ndim - len(pads) // 2)
    pairs += [(pads[i], pads[i + 1]) for i in range(len(pads) - 2, -1, -2)]
    widths = [(max(before, 0), max(after, 0)) for before, after in pairs]
    padded = jnp.pad(x, widths, constant_values=value)
    cut = [
        slice(max(-before, 0), size - max(-after, 0)) for (before, after), size in zip(pairs, padded.shape, strict=True)
    ]
    return padded[tuple(cut)]


@lowers(_aten.tril.default)
def _tril(x: Any, diagonal: int = 0) -> Any:
    return jnp.tril(x, diagonal)


@lowers(_aten.triu.default)
def _triu(x: Any, diagonal: int = 0) -> Any:
    return jnp.triu(x, diagonal)


@lowers(_aten.arange.start_step)
def _arange(start: Any, end: Any, step: Any = 1, **more: Any) -> Any:
    dtype = more.get("dtype")
    return jnp.arange(start, end, step, None if dtype is None else jax_dtype(dtype))


@lowers(_aten.arange.default)
def _arange_to(end: Any, **more: Any) -> Any:
    return _arange(0, end, **more)


@lowers(_aten.arange.start)
def _arange_from(start: Any, end: Any, **more: Any) -> Any:
    return _arange(start, end, **more)


@lowers(_aten.full.default)
def _full(shape: Sequence[int], value: Any, **more: Any) -> Any:
    dtype = more.get("dtype")
    return jnp.full(shape, value, None if dtype is None else jax_dtype(dtype))


@lowers(_aten.zeros.default)
def _zeros(shape: Sequence[int], **more: Any) -> Any:
    return _full(shape, 0, dtype=more.get("dtype") or torch.float32)


@lowers(_aten.ones.default)
def _ones(shape: Sequence[int], **more: Any) -> Any:
    return _full(shape, 1, dtype=more.get("dtype") or torch.float32)


@lowers(_aten.full_like.default)
def _full_like(x: Any, value: Any, **_: Any) -> Any:
    return jnp.full(x.shape, value, x.dtype)


@lowers(_aten.zeros_like.default)
def _zeros_like(x: Any, **_: Any) -> Any:
    return jnp.zeros(x.shape, x.dtype)


@lowers(_aten.ones_like.default)
def _ones_like(x: Any, **_: Any) -> Any:
    return jnp.ones(x.shape, x.dtype)


@lowers(_aten.scalar_tensor.default)
def _scalar_tensor(value: Any, **more: Any) -> Any:
    return jnp.asarray(value, jax_dtype(more.get("dtype") or torch.float32))


@lowers(_aten.sym_size.int)
def _size(x: Any, axis: int) -> int:
    return int(x.shape[axis])
