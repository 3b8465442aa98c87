"""Elements of images by their place."""

from __future__ import annotations

import torch


def pixels(data: torch.Tensor, image: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """All channels of `data` [N, C, H, W] at places inside it: [R, C, points].

    `y` and `x` are int64 [R, points], `image` int64 [R, 1] says which of the N images row r reads from.
    """
    _, channels, height, width = data.shape
    flat = data.transpose(0, 1).reshape(channels, -1)
    places = (image * height + y) * width + x
    return flat.index_select(1, places.reshape(-1)).reshape(channels, *y.shape).transpose(0, 1)
