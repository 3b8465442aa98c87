"""Attention and the rotation of its operands by position."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx.helper
from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.node import BIT, Node, is_half
from tests.support.strategies.table import draws


@draws("Attention")
def attention(node: Node) -> Sequence[Array | None]:
    """All kinds together: heads that share keys, a past, a mask, a cap, windows, keys that are padding."""
    node.attribute("is_causal", BIT)
    cap = node.attribute("softcap", st.sampled_from([0.0, 2.0]))
    mode = node.attribute("qk_matmul_output_mode", st.integers(0, 3))
    if cap > 0 and mode == 0:  # the evaluator shows the capped scores for the raw ones
        node.set("qk_matmul_output_mode", 1)
    node.attribute("scale", st.sampled_from([0.3, 1.0]))
    node.attribute("softmax_precision", st.just(1))
    for window in ("left_window_size", "right_window_size"):
        node.attribute(window, st.integers(-1, 2))
    batch, shared, key_heads, size = node.size(1, 2), node.size(1, 2), node.size(1, 2), node.choice(4, 8)
    queries, length, past = node.size(1, 3), node.size(1, 4), node.choice(0, 2)
    heads = shared * key_heads
    dtype, value_type = node.dtype(0, "f"), node.dtype(2, "f")
    query, key, value = (
        node.array((batch, count, steps, width), kind, -1, 1)
        for count, steps, width, kind in (
            (heads, queries, size, dtype),
            (key_heads, length, size, dtype),
            (key_heads, length, 5, value_type),
        )
    )
    node.asked |= {"q_num_heads", "kv_num_heads"}
    node.outputs = 4
    rows: list[Array | None] = [None, None]
    if past:
        rows = [
            node.array((batch, key_heads, past, width), kind, -1, 1) for width, kind in ((size, dtype), (5, value_type))
        ]
    total = length + past
    valid = None
    if node.arity == 7 and not past and queries <= length and node.bit():
        valid = node.array((batch,), np.int64, queries, length)
    mask = None
    if valid is None and node.bit():
        shape = node.choice((queries, total), (heads, queries, total), (batch, 1, queries, total))
        mask = node.array(shape, node.dtype(3, "bf"))
    operands: list[Array] = [query, key, value]
    if not past and node.bit():
        node.set("q_num_heads", heads)
        node.set("kv_num_heads", key_heads)
        operands = [a.swapaxes(1, 2).reshape(batch, a.shape[2], -1) for a in operands]
    node.tolerance = 5e-3 if np.float16 in (dtype, value_type) else 1e-5
    inputs = [*operands, mask, *rows, valid]
    node.ask(inputs, node.since, node.attributes)
    assert node.expected is not None
    # Of mixed types the evaluator gives the widest.
    node.expected = [a.astype(t) for a, t in zip(node.expected, (dtype, dtype, value_type, dtype), strict=True)]
    return inputs


@draws("RotaryEmbedding")
def rotary_embedding(node: Node) -> Sequence[Array | None]:
    node.attribute("interleaved", BIT)
    turned = node.attribute("rotary_embedding_dim", st.sampled_from([0, 4]))
    batch, length, heads, size = node.size(1, 2), node.size(1, 3), node.size(1, 2), 8
    node.asked.add("num_heads")
    flat = node.bit()
    if flat:
        node.set("num_heads", heads)
    data = node.tensor(0, (batch, length, heads * size) if flat else (batch, heads, length, size))
    positions = node.array((batch, length), np.int64, 0, 9) if node.bit() else None
    pairs = (turned or size) // 2
    shape = (batch, length, pairs) if positions is None else (10, pairs)
    return [data, node.tensor(1, shape, -1, 1), node.tensor(2, shape, -1, 1), positions]


@draws("LinearAttention")
def linear_attention(node: Node) -> Sequence[Array | None]:
    """By its body, a loop over time. Keys are short, so that the state does not grow."""
    rule = node.attribute("update_rule", st.sampled_from(["linear", "gated", "delta", "gated_delta"]))
    node.attribute("chunk_size", st.just(64))
    node.attribute("scale", st.sampled_from([0.0, 0.5]))
    key_heads, shared, batch, length, size = (node.size(1, 2) for _ in range(5))
    node.set("kv_num_heads", key_heads)
    node.set("q_num_heads", key_heads * shared)
    node.outputs = 2
    query = node.tensor(0, (batch, length, key_heads * shared * size), -1, 1)
    key = node.tensor(1, (batch, length, key_heads * size), -0.5, 0.5)
    value = node.tensor(2, (batch, length, key_heads * 3), -1, 1)
    past = node.tensor(3, (batch, key_heads, size, 3), -1, 1) if node.bit() else None
    columns = key_heads * node.choice(1, size)
    decay = node.tensor(4, (batch, length, columns), -2, 0) if "gated" in rule else None
    beta = node.tensor(5, (batch, length, node.choice(1, key_heads)), 0, 1) if "delta" in rule else None
    node.tolerance = None if is_half(query.dtype) else 1e-4
    return [query, key, value, past, decay, beta]


@draws("CausalConvWithState")
def causal_convolution(node: Node) -> Sequence[Array | None]:
    node.attribute("activation", st.sampled_from(["silu", "swish", "none"]))
    batch, channels, length, taps = node.size(1, 2), node.size(1, 3), node.size(1, 5), node.size(2, 3)
    node.outputs = 2
    data = node.tensor(0, (batch, channels, length))
    inputs = [
        data,
        node.tensor(1, (channels, 1, taps)),
        node.tensor(2, (channels,)) if node.bit() else None,
        node.tensor(3, (batch, channels, taps - 1)) if node.bit() else None,
    ]
    node.tolerance = 0.1 if is_half(data.dtype) else None
    return inputs


@draws("FlexAttention", domain="ai.onnx.preview")
def flex_attention(node: Node) -> Sequence[Array | None]:
    """Without graphs for scores and probabilities, and with ones that keep the type."""
    node.attribute("scale", st.sampled_from([0.3, 1.0]))
    node.asked |= {"softmax_precision", "score_mod", "prob_mod"}
    for name, op in (("score_mod", "Tanh"), ("prob_mod", "Abs")):
        if node.bit():
            infos = [onnx.helper.make_empty_tensor_value_info(letter) for letter in "ab"]
            made = onnx.helper.make_node(op, ["a"], ["b"])
            node.attributes[name] = onnx.helper.make_graph([made], name, infos[:1], infos[1:])
    batch, key_heads, shared, queries, keys, size = (node.size(1, 2) for _ in range(6))
    query = node.tensor(0, (batch, key_heads * shared, queries, size), -1, 1)
    key = node.tensor(1, (batch, key_heads, keys, size), -1, 1)
    node.tolerance = None if is_half(query.dtype) else 1e-5
    return [query, key, node.tensor(2, (batch, key_heads, keys, 3), -1, 1)]
