"""Attention as com.microsoft has it, fused in several ways."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.onnxruntime_ops import DOMAIN
from tests.support.strategies.contrib import as_onnxruntime
from tests.support.strategies.node import BIT, Node
from tests.support.strategies.table import draws

SIZE = 16


def cosines_and_sines(length: int = 16) -> list[Array]:
    angles = np.arange(length)[:, None] * (0.5 ** np.arange(SIZE // 2))[None]
    return [np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)]


def _mask(node: Node, batch: int, queries: int, keys: int) -> Array | None:
    """None, a mask of keys, how many of them there are, or a mask of pairs."""
    ends = node.array((batch,), np.int32, 1, keys)
    by_key = (np.arange(keys) < ends[:, None]).astype(np.int32)
    pairs = np.broadcast_to(np.tril(np.ones((queries, keys), np.int32)), (batch, queries, keys))
    kinds: dict[str, Array | None] = {"none": None, "keys": by_key, "ends": ends, "pairs": pairs}
    found: Array | None = kinds[node.choice(*kinds)]
    return found


@draws("Attention", domain=DOMAIN)
def attention(node: Node) -> Sequence[Array | None]:
    heads, batch, length = node.size(1, 2), node.size(1, 2), node.size(1, 5)
    width = heads * SIZE
    node.set("num_heads", heads)
    past = None
    if node.bit():
        past = node.array((2, batch, heads, node.size(1, 3), SIZE), np.float32, -1, 1)
        length, node.outputs = 1, 2
        node.set("unidirectional", 1)
    else:
        node.attribute("unidirectional", BIT)
    mask = None if past is not None else _mask(node, batch, length, length)
    inputs = [
        node.array((batch, length, 6), np.float32),
        node.array((6, 3 * width), np.float32, -1, 1),
        node.array((3 * width,), np.float32),
        mask,
        past,
    ]
    return as_onnxruntime(node, inputs)


@draws("MultiHeadAttention", domain=DOMAIN)
def multi_head_attention(node: Node) -> Sequence[Array | None]:
    heads, batch, queries, keys = node.size(1, 2), node.size(1, 2), node.size(1, 4), node.size(1, 5)
    node.set("num_heads", heads)
    node.attribute("scale", st.sampled_from([0.3, 0.5]))
    query = node.array((batch, queries, heads * SIZE), np.float32, -1, 1)
    if node.bit():  # keys and values already by head
        split = [node.array((batch, heads, keys, SIZE), np.float32, -1, 1) for _ in range(2)]
        return as_onnxruntime(node, [query, *split])
    rows = [node.array((batch, keys, heads * SIZE), np.float32, -1, 1) for _ in range(2)]
    bias = node.array((3 * heads * SIZE,), np.float32, -1, 1) if node.bit() else None
    ends = node.array((batch, 1), np.int32, 1, keys)
    mask = (np.arange(keys) < ends).astype(np.int32) if node.bit() else None
    added = node.array((1, heads, queries, keys), np.float32) if node.bit() else None
    return as_onnxruntime(node, [query, *rows, bias, mask, added])


@draws("GroupQueryAttention", domain=DOMAIN)
def group_query_attention(node: Node) -> Sequence[Array | None]:
    """Two heads of queries to one of keys; a first call without a past, or later ones with one."""
    length, past = node.choice((5, 0), (1, 4), (3, 4))
    batch = 1 if past and length > 1 else 2  # as ONNX Runtime wants it
    rotary = node.choice(0, 1)
    node.attributes |= {"num_heads": 4, "kv_num_heads": 2, "do_rotary": rotary}
    node.attribute("rotary_interleaved", st.just(rotary))
    node.attribute("softcap", st.sampled_from([1.5]))
    node.attribute("scale", st.sampled_from([0.7]))
    node.attribute("smooth_softmax", BIT)
    node.attribute("local_window_size", st.sampled_from([2, 3]))
    parts = [node.array((batch, length, heads * SIZE), np.float32, -1, 1) for heads in (4, 2, 2)]
    operands: list[Array | None] = list(parts)
    if node.bit():
        operands = [np.concatenate(parts, -1), None, None]
    caches = [node.array((batch, 2, past, SIZE), np.float32, -1, 1) for _ in range(2)]
    total = length + past
    numbers = [np.full(batch, total - 1, np.int32), np.array(total, np.int32)]
    node.outputs = 3
    inputs = [*operands, *caches, *numbers, *(cosines_and_sines() if rotary else [])]
    return as_onnxruntime(node, inputs, constants=(6,))


@draws("RotaryEmbedding", domain=DOMAIN)
def rotary_embedding(node: Node) -> Sequence[Array | None]:
    batch, heads, length = node.size(1, 2), node.size(1, 2), node.size(1, 5)
    node.attribute("interleaved", BIT)
    flat = node.bit()
    data = node.array((batch, length, heads * SIZE) if flat else (batch, heads, length, SIZE), np.float32, -1, 1)
    each = node.array((batch, length), np.int64, 0, 15)
    return as_onnxruntime(node, [data, node.ints(2) if node.bit() else each, *cosines_and_sines()])
