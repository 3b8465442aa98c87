"""`unspool::cached_attention` as ONNX Runtime's MultiHeadAttention.

It reads the past and writes what the next step finds in one kernel, where a graph of ONNX's own operators moves
everything that is kept in nodes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import onnx_ir as ir
from onnxscript import evaluator

from passes import dialect


def _cached_attention(
    q: Any, k: Any, v: Any, past_k: Any, past_v: Any, bias: Any, scale: float
) -> Any:  # the arguments of the schema
    heads = past_k.shape[1]
    node = ir.node(
        "MultiHeadAttention",
        [q, k, v, None, None, bias, past_k, past_v],
        {"num_heads": int(heads), "scale": scale},
        domain="com.microsoft",
        num_outputs=3,
    )
    recorder: Any = evaluator.default()
    recorder.nodes.append(node)
    return node.outputs


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {dialect.CACHED_ATTENTION: _cached_attention}
)
