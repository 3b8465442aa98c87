"""com.microsoft: activations, products and normalizations that ONNX Runtime's optimizer fuses."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op

_DOMAIN = "com.microsoft"


@op("Gelu", 1, domain=_DOMAIN)
def gelu(_: Call, data: torch.Tensor) -> torch.Tensor:
    return F.gelu(data)


@op("BiasGelu", 1, domain=_DOMAIN)
def bias_gelu(_: Call, data: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.gelu(data + bias)


@op("FastGelu", 1, domain=_DOMAIN)
def fast_gelu(_: Call, data: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return F.gelu(data if bias is None else data + bias, approximate="tanh")


@op("QuickGelu", 1, domain=_DOMAIN)
def quick_gelu(call: Call, data: torch.Tensor) -> torch.Tensor:
    return data * torch.sigmoid(call.attr_float("alpha", 1.702) * data)


@op("BiasAdd", 1, domain=_DOMAIN)
def bias_add(_: Call, data: torch.Tensor, bias: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    return data + bias + skip


@op("FusedMatMul", 1, domain=_DOMAIN)
def fused_matmul(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Alpha * a @ b, each perhaps with its last two axes swapped; a vector is not."""
    if call.attr_int("transBatchA", 0) or call.attr_int("transBatchB", 0):
        call.unsupported("transBatchA and transBatchB")
    a = a.transpose(-1, -2) if call.attr_int("transA", 0) and a.dim() > 1 else a
    b = b.transpose(-1, -2) if call.attr_int("transB", 0) and b.dim() > 1 else b
    alpha = call.attr_float("alpha", 1.0)
    product = torch.matmul(a, b)
    return product if alpha == 1.0 else product * alpha


@op("SkipLayerNormalization", 1, domain=_DOMAIN)
def skip_layer_normalization(
    call: Call,
    data: torch.Tensor,
    skip: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor | None, ...]:
    """Layer normalization of data + skip + bias, and that sum as the fourth output."""
    total = _total(call, data, skip, bias)
    result = F.layer_norm(total, [total.shape[-1]], scale, shift, call.attr_float("epsilon", 1e-12))
    return (result, None, None, total)[: call.output_count]


@op("SkipSimplifiedLayerNormalization", 1, domain=_DOMAIN)
def skip_rms_normalization(
    call: Call, data: torch.Tensor, skip: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None = None
) -> tuple[torch.Tensor | None, ...]:
    total = _total(call, data, skip, bias)
    result = F.rms_norm(total, [total.shape[-1]], scale, call.attr_float("epsilon", 1e-12))
    return (result, None, None, total)[: call.output_count]


@op("SimplifiedLayerNormalization", 1)
def rms_normalization(call: Call, data: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """ONNX Runtime's, in ONNX's own domain: RMSNormalization-23, statistics in float32."""
    if call.output_count > 1:
        call.unsupported("the inverse standard deviation as an output")
    axis = call.attr_int("axis", -1) % data.dim()
    normalized = F.rms_norm(data.to(torch.float32), list(data.shape[axis:]), eps=call.attr_float("epsilon", 1e-5))
    return normalized.to(scale.dtype) * scale


@op("EmbedLayerNormalization", 1, domain=_DOMAIN)
def embed_layer_normalization(  # noqa: PLR0913, PLR0917  # the inputs of the operator
    call: Call,
    tokens: torch.Tensor,
    segments: torch.Tensor | None,
    words: torch.Tensor,
    places: torch.Tensor,
    segment_table: torch.Tensor | None,
    scale: torch.Tensor,
    shift: torch.Tensor,
    mask: torch.Tensor | None = None,
    positions: torch.Tensor | None = None,
) -> tuple[torch.Tensor, ...]:
    """Embeddings of tokens [N, length], their positions and segments, added and normalized.

    Also how many tokens of each row the mask keeps, int32 [N], zeros without a mask; and the sum.
    """
    located = F.embedding(positions, places) if positions is not None else places[: tokens.shape[1]]
    total = F.embedding(tokens, words) + located
    if segments is not None and segment_table is not None:
        total = total + F.embedding(segments, segment_table)
    result = F.layer_norm(total, [total.shape[-1]], scale, shift, call.attr_float("epsilon", 1e-12))
    kept = torch.zeros_like(tokens) if mask is None else mask
    return (result, kept.to(torch.int32).sum(1, dtype=torch.int32), total)[: call.output_count]


def _total(call: Call, data: torch.Tensor, skip: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    names = [output.name for output in call.node.outputs]
    if any(names[1:3]):
        call.unsupported("mean and inverse standard deviation as outputs")
    total = data + skip
    return total if bias is None else total + bias
