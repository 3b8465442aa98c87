"""com.microsoft: Attention, MultiHeadAttention, GroupQueryAttention and RotaryEmbedding, as ONNX Runtime fuses them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import always, arange, integers, maximum
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.rotary import turned
from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.values import Known

_DOMAIN = "com.microsoft"
_MASKED = -10000.0
"""What is added to the score of a masked key unless the node says otherwise."""


@op("Attention", 1, domain=_DOMAIN)
def attention(
    call: Call,
    data: torch.Tensor,
    weights: torch.Tensor,
    bias: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    past: torch.Tensor | None = None,
    scores_bias: torch.Tensor | None = None,
    past_length: torch.Tensor | None = None,
) -> tuple[torch.Tensor, ...]:
    """`data` [N, length, features] through one matrix to queries, keys and values. `past` is [2, N, heads, P, size]."""
    if past_length is not None or call.attr_int("past_present_share_buffer", 0) or call.attr_int("do_rotary", 0):
        call.unsupported("a shared cache, or rotary embedding")
    projected = torch.matmul(data, weights)
    if bias is not None:
        projected = projected + bias
    third = as_int(projected.shape[-1]) // 3
    sizes = call.attr_ints("qkv_hidden_sizes", [third] * 3)
    heads = call.attr_int("num_heads")
    query, key, value = (_split_heads(part, heads) for part in torch.split_with_sizes(projected, sizes, -1))
    if past is not None:
        key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
    result = _attend(call, query, key, value, _additive(call, mask, query, key, scores_bias))
    present = [torch.stack([key, value])] if call.output_count > 1 else []
    return (_join_heads(result), *present)


@op("MultiHeadAttention", 1, domain=_DOMAIN)
def multi_head_attention(  # noqa: PLR0913, PLR0917  # the inputs of the operator
    call: Call,
    query: torch.Tensor,
    key: torch.Tensor | None = None,
    value: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    scores_bias: torch.Tensor | None = None,
    past_key: torch.Tensor | None = None,
    past_value: torch.Tensor | None = None,
    *rest: torch.Tensor | None,
) -> tuple[torch.Tensor, ...]:
    """Inputs are [N, length, heads * size]; keys and values may be [N, heads, length, size] already."""
    if query.dim() != 3 or key is None or value is None or any(operand is not None for operand in rest):
        call.unsupported("packed queries, keys and values, or a shared cache")
    heads = call.attr_int("num_heads")
    if bias is not None:
        size = as_int(query.shape[-1])
        query = query + bias[:size]
        if key.dim() == 3:
            key, value = key + bias[size : 2 * size], value + bias[2 * size :]
    query = _split_heads(query, heads)
    key, value = (_split_heads(part, heads) if part.dim() == 3 else part for part in (key, value))
    if past_key is not None and past_value is not None:
        key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
    result = _attend(call, query, key, value, _additive(call, mask, query, key, scores_bias))
    return (_join_heads(result), key, value)[: call.output_count]


@op("GroupQueryAttention", 1, domain=_DOMAIN, shapes=(6,))
def group_query_attention(  # noqa: PLR0913, PLR0917  # the inputs of the operator
    call: Call,
    query: torch.Tensor,
    key: torch.Tensor | None,
    value: torch.Tensor | None,
    past_key: torch.Tensor | None,
    past_value: torch.Tensor | None,
    last: torch.Tensor,
    total: Known,
    cosines: torch.Tensor | None = None,
    sines: torch.Tensor | None = None,
    positions: torch.Tensor | None = None,
    scores_bias: torch.Tensor | None = None,
    sink: torch.Tensor | None = None,
    *rest: torch.Tensor | None,
) -> tuple[torch.Tensor, ...]:
    """Queries [N, length, heads * size] share heads of keys; `last` [N] is the place of each row's last key.

    Without keys, queries, keys and values are packed side by side. The new keys are written into the cache after
    each row's own past ones; the cache grows to `total` if it is shorter.
    """
    _refuse_quantized_caches(call, rest)
    heads, shared = call.attr_int("num_heads"), call.attr_int("kv_num_heads")
    if key is None or value is None:
        size = as_int(query.shape[-1]) // (heads + 2 * shared)
        query, key, value = torch.split_with_sizes(query, [heads * size, shared * size, shared * size], -1)
    rows = [_heads_apart(part, count) for part, count in ((query, heads), (key, shared), (value, shared))]
    length = query.shape[1]
    # A first prompt may be filled up on the right: a row's last key is then before the end of it.
    before = (last.reshape(-1, 1).to(torch.int64) + 1 - length).clamp(min=0)
    places = before + arange(length)
    if call.attr_int("do_rotary", 0):
        if cosines is None or sines is None:
            call.unsupported("rotary embedding without its tables")
        where = places if positions is None else positions
        interleaved = bool(call.attr_int("rotary_interleaved", 0))
        pairs = (cosines[where], sines[where], 2 * as_int(cosines.shape[-1]), interleaved)
        rows[:2] = [turned(part, *pairs) for part in rows[:2]]
    q, k, v = (part.transpose(1, 2) for part in rows)
    k, v = (_written(past, new, places, total) for past, new in ((past_key, k), (past_value, v)))
    bias = _causal(call, places, k) if scores_bias is None else scores_bias + _causal(call, places, k)
    group = heads // shared
    wide_k, wide_v = (part.repeat_interleave(group, 1) if group > 1 else part for part in (k, v))
    if sink is None and call.attr_int("smooth_softmax", 0) == 1:
        sink = torch.zeros(heads, dtype=q.dtype)
    return (_join_heads(_attend(call, q, wide_k, wide_v, bias, sink)), k, v)[: call.output_count]


@op("RotaryEmbedding", 1, domain=_DOMAIN)
def rotary_embedding(
    call: Call, data: torch.Tensor, positions: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
) -> torch.Tensor:
    """`data` [N, length, heads * size] or [N, heads, length, size]; `positions` [1] (the first) or [N, length]."""
    if call.attr_int("is_packed_batching", 0) or call.attr_float("scale", 1.0) != 1.0:
        call.unsupported("packed batches, or a scale")
    size = call.attr_int("rotary_embedding_dim", 0) or None
    heads = call.attr_int("num_heads", 0)
    if data.dim() == 4:
        rows = data.transpose(1, 2)
    else:
        # Without a number of heads every feature of a head turns.
        rows = _heads_apart(data, heads or data.shape[-1] // (as_int(cosines.shape[-1]) * 2))
    if positions.dim() == 1:
        positions = (positions.reshape(1, 1) + arange(rows.shape[1])).expand(rows.shape[0], -1)
    result = turned(rows, cosines[positions], sines[positions], size, bool(call.attr_int("interleaved", 0)))
    return result.transpose(1, 2) if data.dim() == 4 else result.flatten(2)


def _split_heads(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    return _heads_apart(tensor, heads).transpose(1, 2)


def _heads_apart(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    return tensor.reshape(*tensor.shape[:-1], heads, -1)


def _join_heads(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.transpose(1, 2).flatten(2)


def _attend(
    call: Call,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    sink: torch.Tensor | None = None,
) -> torch.Tensor:
    """Everything is [N, heads, length, size]; `bias` is added to the scores, `sink` [heads] beside them for nothing."""
    scale = call.attr_float("scale", 0.0) or 1 / math.sqrt(query.shape[-1])
    scores = torch.matmul(query, key.transpose(2, 3)) * scale
    if cap := call.attr_float("softcap", 0.0):
        scores = torch.tanh(scores / cap) * cap
    if bias is not None:
        scores = scores + bias
    if sink is None:
        return torch.matmul(torch.softmax(scores, -1), value)
    column = sink.to(scores.dtype).reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
    weights = torch.softmax(torch.cat([scores, column], -1), -1)[..., :-1]
    return torch.matmul(weights, value)


def _additive(
    call: Call, mask: torch.Tensor | None, query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor | None:
    """What is added to the scores: for keys that the mask leaves out, for later ones, and the bias given."""
    queries, keys = query.shape[2], key.shape[2]
    parts = [] if bias is None else [bias]
    if mask is not None:
        if mask.dim() == 1:
            if not always(mask.shape[0] == query.shape[0]):
                call.unsupported("a mask of starts and ends")
            kept = arange(keys) < mask.reshape(-1, 1, 1, 1)
        elif mask.dim() in (2, 3):
            kept = (mask != 0).reshape(mask.shape[0], 1, *([1] if mask.dim() == 2 else []), *mask.shape[1:])
        else:
            call.unsupported(f"a mask of rank {mask.dim()}")
        parts.append(torch.where(kept, 0.0, call.attr_float("mask_filter_value", _MASKED)).to(query.dtype))
    if call.attr_int("unidirectional", 0):
        later = arange(keys) > (arange(queries) + (keys - queries)).unsqueeze(1)
        parts.append(torch.where(later, torch.finfo(query.dtype).min, 0.0).to(query.dtype))
    if not parts:
        return None
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _causal(call: Call, places: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Minus infinity for keys after a query's place [N, length], or outside its window; [N, 1, length, keys]."""
    distance = places.unsqueeze(-1) - arange(key.shape[2])
    allowed = distance >= 0
    if (window := call.attr_int("local_window_size", -1)) > 0:
        allowed = allowed & (distance < window)
    return torch.where(allowed, 0.0, float("-inf")).to(key.dtype).unsqueeze(1)


def _written(past: torch.Tensor | None, new: torch.Tensor, places: torch.Tensor, total: Known) -> torch.Tensor:
    """The cache [N, heads, keys, size] with the new rows at their places."""
    size = integers(total)[0]
    if past is None:
        return new if always(size == new.shape[2]) else F.pad(new, [0, 0, 0, as_int(size - new.shape[2])])
    grown = F.pad(past, [0, 0, 0, as_int(maximum(size - past.shape[2], 0))])
    written = grown.scatter(2, places[:, None, :, None].expand(new.shape), new)
    # Behind a row's last key ONNX Runtime leaves zeros.
    used = arange(written.shape[2]) <= places[:, -1:]
    return torch.where(used[:, None, :, None], written, 0.0)


def _refuse_quantized_caches(call: Call, rest: tuple[torch.Tensor | None, ...]) -> None:
    if any(operand is not None for operand in rest) or call.attr_int("kv_cache_bit_width", 0):
        call.unsupported("a quantized cache, or normalized queries and keys")
    if call.attr_int("causal", 1) != 1 or call.attr_int("qk_output", 0) or call.attr_int("sliding_window_cache", 0):
        call.unsupported("causal=0, qk_output and sliding_window_cache")
