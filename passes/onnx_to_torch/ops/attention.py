"""Attention: scaled dot products of queries and keys, masks, and the weighted sum of values."""

from __future__ import annotations

import math
from functools import reduce

import torch
import torch.nn.functional as F

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, always
from passes.onnx_to_torch.precision import widest
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.tensors import torch_dtype

_RAW, _CAPPED, _MASKED, _NORMALIZED = range(4)
"""What `qk_matmul_output_mode` selects for the fourth output."""


@op("Attention", 23, 24, 25)
def attention(
    call: Call,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    past_key: torch.Tensor | None = None,
    past_value: torch.Tensor | None = None,
    valid: torch.Tensor | None = None,
) -> tuple[torch.Tensor, ...]:
    """Tensors are [N, heads, length, size], or [N, length, heads * size]; `valid` [N] counts keys that are data.

    Outputs: the result in the query's rank, the keys and values with the past ones before them, the scores.
    A row whose keys are all masked gives zeros.
    """
    flat = query.dim() == 3
    if flat:
        query = _split_heads(query, call.attr_int("q_num_heads"))
        key, value = (_split_heads(tensor, call.attr_int("kv_num_heads")) for tensor in (key, value))
    before: Int | torch.Tensor = 0
    if past_key is not None and past_value is not None:
        before = past_key.shape[2]
        key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
    elif valid is not None:
        before = valid.reshape(-1, 1, 1, 1) - query.shape[2]
    stages = _scores(call, query, _share_heads(key, query))
    allowed, bias = _rules(call, (query.shape[2], key.shape[2]), mask, before, valid, query.dtype)
    masked = stages[_CAPPED] if bias is None else stages[_CAPPED] + bias
    if allowed is not None:
        masked = torch.where(allowed, masked, float("-inf"))
    weights = _softmax(call, masked, allowed, bias)
    result = _weighted(weights, _share_heads(value, query))
    if flat:
        result = result.transpose(1, 2).flatten(2)
    shown = (*stages, masked, weights)[call.attr_int("qk_matmul_output_mode")]
    return (result, key, value, shown)[: call.output_count]


def _split_heads(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """[N, length, heads * size] as [N, heads, length, size]."""
    return tensor.reshape(*tensor.shape[:2], heads, -1).transpose(1, 2)


def _share_heads(tensor: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """One head of keys or values for each head of the query, neighbours sharing one."""
    heads, wanted = tensor.shape[1], query.shape[1]
    if always(heads == wanted):
        return tensor
    return tensor.unsqueeze(2).expand(-1, -1, wanted // heads, -1, -1).flatten(1, 2)


def _scores(call: Call, query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaled products [N, heads, queries, keys], without and with the soft cap."""
    scale = call.attr_float("scale") if call.has("scale") else 1 / math.sqrt(query.shape[3])
    # The root on either side, as the specification has it against overflow in half precision, and in its type.
    root = torch.full((), math.sqrt(scale), dtype=query.dtype)
    scores = torch.matmul(query * root, (key * root).transpose(2, 3))
    cap = call.attr_float("softcap")
    return scores, torch.tanh(scores / cap) * cap if cap else scores


def _rules(
    call: Call,
    lengths: tuple[Int, Int],
    mask: torch.Tensor | None,
    before: Int | torch.Tensor,
    valid: torch.Tensor | None,
    dtype: torch.dtype,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Which pairs of query and key are allowed, and what is added to their scores of type `dtype`; None for nothing.

    Query i stands at position `before` + i. Both broadcast to [N, heads, queries, keys].
    """
    queries, keys = map(as_int, lengths)
    start = before if isinstance(before, torch.Tensor) else as_int(before)
    position = torch.arange(queries).unsqueeze(1) + start
    distance = position - torch.arange(keys)
    rules = []
    if call.attr_int("is_causal"):
        rules.append(distance >= 0)
    if (left := call.attr_int("left_window_size", -1)) >= 0:
        rules.append(distance <= left)
    if (right := call.attr_int("right_window_size", -1)) >= 0:
        rules.append(distance >= -right)
    if valid is not None:
        rules.append(torch.arange(keys) < valid.reshape(-1, 1, 1, 1))
    if mask is not None and not always(mask.shape[-1] == keys):
        # A mask may end early; what it does not reach is masked.
        missing = [0, keys - mask.shape[-1]]
        mask = F.pad(mask, missing, value=float("-inf") if mask.is_floating_point() else 0)
    if mask is not None and mask.dtype is torch.bool:
        rules.append(mask)
    bias = mask.to(dtype) if mask is not None and mask.is_floating_point() else None
    return reduce(torch.logical_and, rules) if rules else None, bias


def _weighted(weights: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The sum of the values by weight, in the type of the weights; values may have another."""
    wide = widest(weights.dtype, value.dtype)
    return torch.matmul(weights.to(wide), value.to(wide)).to(weights.dtype)


def _softmax(call: Call, masked: torch.Tensor, allowed: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
    """In `softmax_precision`, zeros where no key is left; which the rules tell, and not the scores."""
    dtype = masked.dtype
    if call.has("softmax_precision"):
        masked = masked.to(torch_dtype(call.attr_int("softmax_precision"), call.label))
    weights = torch.softmax(masked, -1).to(dtype)
    left = [] if allowed is None else [allowed]
    if bias is not None:
        left.append(bias != float("-inf"))
    if not left:
        return weights
    return torch.where(reduce(torch.logical_and, left).any(-1, keepdim=True), weights, 0.0)
