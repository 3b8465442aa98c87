"""`unspool::attention` over a memory, and `unspool::cached_attention` over what steps kept and what this one adds."""

from __future__ import annotations

import torch


@torch.library.custom_op(
    "unspool::cached_attention",
    mutates_args=(),
    schema=(
        "(Tensor q, Tensor k, Tensor v, Tensor past_k, Tensor past_v, Tensor? bias, float scale)"
        " -> (Tensor, Tensor, Tensor)"
    ),
)
def cached_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    past_k: torch.Tensor,
    past_v: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scaled dot products of every head (Vaswani et al. 2017, arXiv:1706.03762), and the keys and values so far.

    `q`, `k` and `v` [batch, t, heads * size] are those of the tokens of this step, `past_k` and `past_v`
    [batch, heads, past, size] those of earlier ones; `bias` broadcasts to [batch, heads, t, past + t]. Gives
    softmax(scale * q k + bias) v, [batch, t, heads * size], and the keys and values with the new rows. All are of one
    floating-point type; scores and their softmax are float32 if that has fewer bits, as kernels keep them.
    """
    heads = past_k.shape[1]
    present_k = torch.cat([past_k, _heads(k, heads)], 2)
    present_v = torch.cat([past_v, _heads(v, heads)], 2)
    return _attended(q, present_k, present_v, bias, scale), present_k, present_v


@cached_attention.register_fake
def _(
    q: torch.Tensor,  # noqa: ARG001  # the arguments of the schema
    k: torch.Tensor,
    v: torch.Tensor,
    past_k: torch.Tensor,
    past_v: torch.Tensor,
    bias: torch.Tensor | None,  # noqa: ARG001
    scale: float,  # noqa: ARG001
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.empty_like(v), _longer(past_k, k.shape[1]), _longer(past_v, v.shape[1])


def _longer(past: torch.Tensor, count: int) -> torch.Tensor:
    batch, heads, length, size = past.shape
    return past.new_empty((batch, heads, length + count, size))


def _heads(x: torch.Tensor, count: int) -> torch.Tensor:
    """[batch, t, heads * size] as [batch, heads, t, size]."""
    return x.reshape(x.shape[0], x.shape[1], count, -1).transpose(1, 2)


@torch.library.custom_op(
    "unspool::attention",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, Tensor? bias, float scale) -> Tensor",
)
def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Scaled dot products of every head over a memory: softmax(scale * q k + bias) v, [batch, t, heads * size].

    `q` is [batch, t, heads * size], `k` and `v` are [batch, heads, rows, size]; `bias` broadcasts to
    [batch, heads, t, rows]. All are of one floating-point type.
    """
    return _attended(q, k, v, bias, scale)


@attention.register_fake
def _(
    q: torch.Tensor,
    k: torch.Tensor,  # noqa: ARG001  # the arguments of the schema
    v: torch.Tensor,  # noqa: ARG001
    bias: torch.Tensor | None,  # noqa: ARG001
    scale: float,  # noqa: ARG001
) -> torch.Tensor:
    return torch.empty_like(q)


def _attended(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Queries [batch, t, heads * size] over keys and values [batch, heads, rows, size]."""
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = _heads(q, k.shape[1]).to(wide) @ k.transpose(2, 3).to(wide) * scale
    out = torch.softmax(scores if bias is None else scores + bias, -1).to(q.dtype) @ v
    return out.transpose(1, 2).reshape(q.shape)
