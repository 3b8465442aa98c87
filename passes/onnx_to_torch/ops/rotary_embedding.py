"""RotaryEmbedding: pairs of features turned by an angle that grows with the position."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.rotary import turned


@op("RotaryEmbedding", 23)
def rotary_embedding(
    call: Call,
    data: torch.Tensor,
    cosines: torch.Tensor,
    sines: torch.Tensor,
    positions: torch.Tensor | None = None,
) -> torch.Tensor:
    """`data` is [N, heads, length, size], or [N, length, heads * size].

    Tables are [positions, pairs] with `positions` [N, length], or else [N, length, pairs]. The first
    `rotary_embedding_dim` features turn, all of them if it is 0: neighbours if `interleaved`, else halves.
    """
    if data.dim() == 4:
        heads_last = data.transpose(1, 2)
    else:
        heads_last = data.reshape(*data.shape[:2], call.attr_int("num_heads"), -1)
    if positions is not None:
        cosines, sines = cosines[positions], sines[positions]
    size = call.attr_int("rotary_embedding_dim") or None
    result = turned(heads_last, cosines, sines, size, bool(call.attr_int("interleaved")))
    return result.transpose(1, 2) if data.dim() == 4 else result.flatten(2)
