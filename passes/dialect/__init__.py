"""The `unspool::` dialect: operators that a body needs and ATen does not have.

Importing this package registers all of them with torch, and nothing else does. `passes.program` imports it, so
whoever has a Function has the operators that its body may call.
"""

from __future__ import annotations

import torch
from torch._ops import OpOverload

from passes.dialect import (
    attention,
    choice,
    gru,
    loop,
    lstm,
    non_max_suppression,
    quantization,
    quantized_blocks,
    require,
    rnn,
)

__all__ = [
    "ATTENTION",
    "CACHED_ATTENTION",
    "DEQUANTIZE",
    "DEQUANTIZE_CHANNELS",
    "GRU",
    "LOOP",
    "LSTM",
    "NON_MAX_SUPPRESSION",
    "QUANTIZE",
    "QUANTIZED_EMBEDDING",
    "QUANTIZED_LINEAR",
    "REQUIRE",
    "RNN",
    "TWO_STAGE_CHOICE",
    "attention",
    "choice",
    "gru",
    "loop",
    "lstm",
    "non_max_suppression",
    "quantization",
    "quantized_blocks",
    "require",
    "rnn",
]

ATTENTION: OpOverload[..., torch.Tensor] = torch.ops.unspool.attention.default
CACHED_ATTENTION: OpOverload[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = (
    torch.ops.unspool.cached_attention.default
)
DEQUANTIZE: OpOverload[..., torch.Tensor] = torch.ops.unspool.dequantize.default
DEQUANTIZE_CHANNELS: OpOverload[..., torch.Tensor] = torch.ops.unspool.dequantize_channels.default
GRU: OpOverload[..., tuple[torch.Tensor, torch.Tensor]] = torch.ops.unspool.gru.default
LOOP = loop.LOOP
LSTM: OpOverload[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = torch.ops.unspool.lstm.default
NON_MAX_SUPPRESSION: OpOverload[..., torch.Tensor] = torch.ops.unspool.non_max_suppression.default
QUANTIZED_EMBEDDING: OpOverload[..., torch.Tensor] = torch.ops.unspool.quantized_embedding.default
QUANTIZED_LINEAR: OpOverload[..., torch.Tensor] = torch.ops.unspool.quantized_linear.default
QUANTIZE: OpOverload[..., torch.Tensor] = torch.ops.unspool.quantize.default
RNN: OpOverload[..., tuple[torch.Tensor, torch.Tensor]] = torch.ops.unspool.rnn.default
REQUIRE: OpOverload[..., torch.Tensor] = torch.ops.unspool.require.default
TWO_STAGE_CHOICE: OpOverload[..., tuple[torch.Tensor, torch.Tensor]] = torch.ops.unspool.two_stage_choice.default
