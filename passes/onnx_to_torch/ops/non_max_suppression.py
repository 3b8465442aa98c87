"""NonMaxSuppression: a single operator of the dialect, because how many boxes it keeps depends on the data."""

from __future__ import annotations

import torch

from passes import dialect
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op


@op("NonMaxSuppression", 10, 11)
def non_max_suppression(
    call: Call,
    boxes: torch.Tensor,
    scores: torch.Tensor,
    most: torch.Tensor | None = None,
    overlap: torch.Tensor | None = None,
    threshold: torch.Tensor | None = None,
) -> torch.Tensor:
    if most is None:  # the default is to keep none
        return torch.empty((0, 3), dtype=torch.int64)
    return dialect.NON_MAX_SUPPRESSION(boxes, scores, most, overlap, threshold, bool(call.attr_int("center_point_box")))
