"""Products of matrices, and convolutions. Sums are of float32 at least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import torch

from compiler.hlo.registry import lowers

_aten = torch.ops.aten


@lowers(_aten.mm.default, _aten.bmm.default, _aten.matmul.default, _aten.mv.default, _aten.dot.default)
def _matmul(x: Any, y: Any) -> Any:
    return jnp.matmul(x, y)


@lowers(_aten.addmm.default, _aten.baddbmm.default)
def _addmm(summand: Any, x: Any, y: Any, beta: float = 1, alpha: float = 1) -> Any:
    product = jnp.matmul(x, y)
    return (summand if beta == 1 else summand * beta) + (product if alpha == 1 else product * alpha)


@lowers(_aten.linear.default)
def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    product = jnp.matmul(x, weight.T)
    return product if bias is None else product + bias


@lowers(_aten.conv1d.default, _aten.conv2d.default, _aten.conv3d.default)
def _convolution(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Any:
    rank = weight.ndim - 2

    def each(values: Sequence[int]) -> tuple[int, ...]:
        return tuple(values) * rank if len(values) == 1 else tuple(values)

    result = jax.lax.conv_general_dilated(
        x,
        weight,
        window_strides=each(stride),
        padding=[(size, size) for size in each(padding)],
        rhs_dilation=each(dilation),
        feature_group_count=groups,
    )
    return result if bias is None else result + bias.reshape((-1,) + (1,) * rank)


@lowers(_aten.scaled_dot_product_attention.default)
def _attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    dropout: float = 0.0,  # noqa: ARG001  # of the schema
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,  # noqa: ARG001  # of the schema
) -> Any:
    """Vaswani et al. 2017, arXiv:1706.03762."""
    scores = jnp.matmul(q, jnp.swapaxes(k, -1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], jnp.bool_)), scores, -jnp.inf)
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == jnp.bool_ else scores + mask
    return jnp.matmul(jax.nn.softmax(scores, -1), v)
