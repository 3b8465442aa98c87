"""`unspool::attention` and `unspool::cached_attention` as ONNX Runtime's MultiHeadAttention.

The latter reads the past and writes what the next step finds in one kernel, where a graph of ONNX's own operators moves
everything that is kept in nodes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import onnx_ir as ir
from onnxscript import evaluator

from passes import dialect


def _attention(q: Any, k: Any, v: Any, bias: Any, scale: float) -> Any:
    (out,) = _multi_head([q, k, v, None, None, bias], k.shape[1], scale, 1)
    return out


def _cached_attention(
    q: Any, k: Any, v: Any, past_k: Any, past_v: Any, bias: Any, scale: float
) -> Any:  # the arguments of the schema
    return _multi_head([q, k, v, None, None, bias, past_k, past_v], past_k.shape[1], scale, 3)


def _multi_head(operands: Sequence[Any], heads: Any, scale: float, outputs: int) -> Any:
    attributes = {"num_heads": int(heads), "scale": scale}
    node = ir.node("MultiHeadAttention", operands, attributes, domain="com.microsoft", num_outputs=outputs)
    recorder: Any = evaluator.default()
    recorder.nodes.append(node)
    return node.outputs


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {dialect.ATTENTION: _attention, dialect.CACHED_ATTENTION: _cached_attention}
)
