"""Rotary position embedding (Su et al. 2021)."""

from __future__ import annotations

import torch


def turned(
    data: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, size: int | None, interleaved: bool
) -> torch.Tensor:
    """`data` [N, length, heads, size], pairs of its features turned by angles with cosines [N, length, pairs].

    Pairs are neighbours if `interleaved`, else feature i and the one half of `size` further. Features from `size`
    on stay; None turns all of them.
    """
    cosines, sines = cosines.unsqueeze(2), sines.unsqueeze(2)
    turning = data if size is None else data[..., :size]
    if interleaved:
        first, second = turning[..., 0::2], turning[..., 1::2]
    else:
        half = (turning.shape[3] if size is None else size) // 2
        first, second = turning[..., :half], turning[..., half:]
    pair = [cosines * first - sines * second, sines * first + cosines * second]
    result = torch.stack(pair, -1).flatten(3) if interleaved else torch.cat(pair, -1)
    return result if size is None else torch.cat([result, data[..., size:]], -1)
