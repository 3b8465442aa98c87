"""RotaryEmbedding: pairs of features turned by an angle that grows with the position."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op


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
    cosines, sines = cosines.unsqueeze(2), sines.unsqueeze(2)
    size = call.attr_int("rotary_embedding_dim") or heads_last.shape[3]
    turning, rest = heads_last[..., :size], heads_last[..., size:]
    interleaved = bool(call.attr_int("interleaved"))
    if interleaved:
        first, second = turning[..., 0::2], turning[..., 1::2]
    else:
        first, second = turning[..., : size // 2], turning[..., size // 2 :]
    pair = [cosines * first - sines * second, sines * first + cosines * second]
    turned = torch.stack(pair, -1).flatten(3) if interleaved else torch.cat(pair, -1)
    result = torch.cat([turned, rest], -1) if call.attr_int("rotary_embedding_dim") else turned
    return result.transpose(1, 2) if data.dim() == 4 else result.flatten(2)
